//! The table of visits: in which minutes each user of an ad has valid clicks, and what that says of distinct users.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use recount_dataflow::domain::window::Granularity;

/// One user of one ad. Nearly all have clicked in one minute alone, so that minute is kept here.
struct Visit {
    hash: u64,
    low: u32,
    /// The minute, or where `count` is [`SEVERAL`] the number of the list.
    minute: u32,
    /// Valid clicks in the minute.
    count: u32,
}

const SEVERAL: u32 = u32::MAX;

/// The users of the ads that one worker owns.
#[derive(Default)]
pub(crate) struct Visits {
    table: HashTable<Visit>,
    /// Minutes and counts, by minute, of users with more than one minute.
    lists: Vec<Vec<(u32, u32)>>,
}

/// The change in the number of distinct users of the windows that hold a minute: one of -1, 0 and 1 a granularity.
pub(crate) type Uniques = [i8; 4];

impl Visits {
    /// Adds (`step` = 1) or takes away (`step` = -1) a valid click of a user in a minute.
    pub(crate) fn step(&mut self, hash: u64, low: u32, minute: u32, step: i8) -> Uniques {
        let entry = self.table.entry(hash, |visit| visit.hash == hash && visit.low == low, |visit| visit.hash);
        let mut occupied = match entry {
            Entry::Vacant(vacant) => {
                assert!(step == 1, "a visit is taken away that never was");
                vacant.insert(Visit { hash, low, minute, count: 1 });
                return [1; 4];
            }
            Entry::Occupied(occupied) => occupied,
        };
        let visit = occupied.get_mut();
        if visit.count == SEVERAL {
            return step_list(&mut self.lists[visit.minute as usize], minute, step);
        }
        if visit.minute == minute {
            visit.count = visit.count.checked_add_signed(step as i32).expect("counts do not fall below none");
            if visit.count == 0 {
                occupied.remove();
                return [-1; 4];
            }
            return [0; 4];
        }
        let mut list = vec![(visit.minute, visit.count)];
        let uniques = step_list(&mut list, minute, step);
        visit.minute = self.lists.len() as u32;
        visit.count = SEVERAL;
        self.lists.push(list);
        uniques
    }
}

/// The same for a list of minutes. A window gains its user with the first minute in it, and loses it with the last.
fn step_list(list: &mut Vec<(u32, u32)>, minute: u32, step: i8) -> Uniques {
    let index = match list.binary_search_by_key(&minute, |(minute, _)| *minute) {
        Ok(index) => {
            let count = list[index].1.checked_add_signed(step as i32).expect("counts do not fall below none");
            list[index].1 = count;
            if count > 0 {
                return [0; 4];
            }
            list.remove(index);
            index
        }
        Err(index) => {
            assert!(step == 1, "a visit is taken away that never was");
            list.insert(index, (minute, 1));
            index
        }
    };
    let after = index + (step == 1) as usize;
    let neighbours = [index.checked_sub(1).map(|before| list[before].0), list.get(after).map(|next| next.0)];
    Granularity::ALL.map(|granularity| {
        let minutes = Granularity::Minute.per(granularity);
        let shared = neighbours.into_iter().flatten().any(|other| other / minutes == minute / minutes);
        if shared { 0 } else { step }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_user_while_any_of_its_minutes_has() {
        let mut visits = Visits::default();
        let mut step = |minute, step| visits.step(1, 1, minute, step);
        assert_eq!(step(100, 1), [1, 1, 1, 1]);
        assert_eq!(step(100, 1), [0, 0, 0, 0]);
        assert_eq!(step(101, 1), [1, 0, 0, 0]);
        assert_eq!(step(119, 1), [1, 1, 0, 0]);
        assert_eq!(step(120, 1), [1, 1, 1, 0]);
        assert_eq!(step(100, -1), [0, 0, 0, 0]);
        assert_eq!(step(100, -1), [-1, 0, 0, 0]);
        assert_eq!(step(101, -1), [-1, -1, 0, 0]);
        assert_eq!(step(119, -1), [-1, -1, -1, 0]);
        assert_eq!(step(120, -1), [-1, -1, -1, -1]);
    }
}
