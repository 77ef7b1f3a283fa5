//! A cursor over a line of JSON that reads only plain tokens: strings without escapes, integers of at most 18 digits.

/// A cursor over one line. Every step returns `None` where the text is not of the plain shape, and is then of no more use.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Digits that can not overflow an `i64`.
const DIGITS_MAX: usize = 18;

/// The high bit of each byte that ends a plain string or has no place in one: a quote, a backslash, a control character.
/// A byte above the first one flagged may be flagged wrongly, by a borrow; the first one never is.
#[inline]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let found_quote = quote.wrapping_sub(ONES) & !quote;
    let found_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let found_control = word.wrapping_sub(ONES * 0x20) & !word;
    (found_quote | found_backslash | found_control) & HIGHS
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_spaces(&mut self) {
        while self.byte() == Some(b' ') {
            self.at += 1;
        }
    }

    /// The next byte that is no space; the cursor stays before it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.skip_spaces();
        self.byte()
    }

    /// Takes one byte, which must be `expected`; spaces before it are passed over.
    #[inline]
    pub(super) fn take(&mut self, expected: u8) -> Option<()> {
        let found = self.peek()? == expected;
        self.at += 1;
        found.then_some(())
    }

    /// Takes a comma (`true`) or the end of the object (`false`).
    #[inline]
    pub(super) fn take_more(&mut self) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    /// Takes a plain string.
    #[inline]
    pub(super) fn take_string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(word) = bytes.get(self.at..self.at + 8) {
            let word = u64::from_le_bytes(word.try_into().expect("8 bytes are a word"));
            match special(word) {
                0 => self.at += 8,
                found => {
                    self.at += (found.trailing_zeros() / 8) as usize;
                    return self.close_string(start);
                }
            }
        }
        while !matches!(self.byte()?, 0..0x20 | b'"' | b'\\') {
            self.at += 1;
        }
        self.close_string(start)
    }

    /// Takes the quote at the cursor, and what lies before it from `start`.
    #[inline]
    fn close_string(&mut self, start: usize) -> Option<&'a str> {
        if self.byte()? != b'"' {
            return None;
        }
        let end = self.at;
        self.at += 1;
        self.text.get(start..end)
    }

    /// Takes a key and its colon.
    #[inline]
    pub(super) fn take_key(&mut self) -> Option<&'a str> {
        let key = self.take_string()?;
        self.take(b':')?;
        Some(key)
    }

    /// Takes an integer, and gives its text with it. What may follow is for the caller to check.
    #[inline]
    pub(super) fn take_integer(&mut self) -> Option<(i64, &'a str)> {
        let negative = self.peek()? == b'-';
        let start = self.at;
        self.at += usize::from(negative);
        let first = self.at;
        let mut value = 0_i64;
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            if self.at - first == DIGITS_MAX {
                return None;
            }
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
        }
        // JSON has no leading zeros, and a negative zero is left to the definition.
        let digits = self.at - first;
        let leading_zero = self.text.as_bytes().get(first) == Some(&b'0') && (digits > 1 || negative);
        if digits == 0 || leading_zero {
            return None;
        }
        Some((if negative { -value } else { value }, &self.text[start..self.at]))
    }

    /// Takes a number in the grammar of JSON, as its text.
    pub(super) fn take_number(&mut self) -> Option<&'a str> {
        self.peek()?;
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        is_number(text.as_bytes()).then_some(text)
    }

    /// Passes over a plain string, a number or a boolean. A null is absent, which is for the definition to say.
    pub(super) fn pass_scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.take_string().map(|_| ()),
            b't' => self.pass_word("true"),
            b'f' => self.pass_word("false"),
            _ => self.take_number().map(|_| ()),
        }
    }

    fn pass_word(&mut self, word: &str) -> Option<()> {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(())
    }

    /// Whether only white space is left.
    #[inline]
    pub(super) fn at_end(&self) -> bool {
        super::is_blank(&self.text.as_bytes()[self.at..])
    }
}

/// Whether a text is a number in the grammar of JSON.
fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (usize, &[u8]) {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count, &text[count..])
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let leading_zero = text.first() == Some(&b'0');
    let (whole, mut rest) = digits(text);
    if whole == 0 || (leading_zero && whole > 1) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (count, after) = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let (count, after) = digits(exponent);
        if count == 0 {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(bytes in prop::array::uniform8(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'a')])) {
            let found = special(u64::from_le_bytes(bytes));
            let first = bytes.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'));
            prop_assert_eq!(first, (found != 0).then(|| (found.trailing_zeros() / 8) as usize));
        }

        #[test]
        fn numbers_are_those_of_serde_json(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?") {
            let oracle = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(is_number(text.as_bytes()), oracle, "{}", text);
        }
    }
}
