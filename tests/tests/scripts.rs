//! The contract, sentence by sentence, as scripts with results worked out by hand. The model and the engine both follow them.
//! The words are explained in `recount_tests::script`.

use recount_dataflow::domain::rules::{DAY_MS, MINUTE_MS, Rules, SECOND_MS};
use recount_tests::script::{check, check_with};

/// Horizons of minutes, so that freezing and forgetting fit in a line: F trails W by two minutes.
fn minutes() -> Rules {
    Rules {
        allowed_lateness_ms: 0,
        correction_horizon_ms: 2 * MINUTE_MS,
        dedup_horizon_ms: 4 * MINUTE_MS,
        max_future_skew_ms: 10 * SECOND_MS,
        dedup_fallback: false,
        counts_retention_ms: None,
    }
}

#[test]
fn a_second_copy_is_a_duplicate_and_a_verdict_takes_the_click_out() {
    check("1: +c1@10:05 +c1@10:05 | 2: reject c1", "1: 10:05=1/0/1 | 2: 10:05=0/1/1");
}

#[test]
fn a_larger_or_smaller_cut_gives_the_same_numbers() {
    check("1: +c1@10:05 +c1@10:05 reject c1 +c2@10:05 accept c2", "1: 10:05=1/1/1");
    check("1: +c1@10:05 | 2: +c1@10:05 | 3: reject c1 | 4: +c2@10:05 | 5: accept c2", "5: 10:05=1/1/1");
}

#[test]
fn windows_are_half_open_and_a_copy_falls_in_its_own() {
    check("1: +c1@10:05:59.999 +c2@10:06 +c1@10:06", "1: 10:05=1 10:06=1/0/1");
    check("1: +c1@23:59:59.999 +c2@1d00:00", "1: 23:59=1 1d00:00=1");
}

#[test]
fn a_copy_that_is_older_takes_the_click_over() {
    check("1: +c1@10:07 | 2: +c1@10:05", "1: 10:07=1 | 2: 10:05=1!duplicate 10:07=0/0/1");
    // The windows were CLOSED: both rows are corrected.
    check(
        "1: +c1@10:07 +x@10:20 | 2: +c1@10:05",
        "1: 10:07=1 10:20=1 | 2: 10:05=1!duplicate 10:07=0/0/1!duplicate 10:20=1",
    );
}

#[test]
fn a_click_moves_with_its_verdict() {
    check(
        "1: +c1@10:07,price=5 reject c1 +x@10:20 | 2: +c1@10:05,price=5",
        "1: 10:07=0/1 10:20=1 | 2: 10:05=0/1!duplicate 10:07=0/0/1!duplicate 10:20=1",
    );
}

#[test]
fn copies_further_apart_than_the_horizon_are_clicks_of_their_own() {
    check("1: +c1@10:05 +c1@7d10:05", "1: 10:05=1 7d10:05=0/0/1");
    check("1: +c1@10:05 +c1@7d10:05:00.001", "1: 10:05=1 7d10:05=1");
}

#[test]
fn the_horizon_counts_from_the_copy_before_and_not_from_the_click() {
    check("1: +c1@10:05 +c1@5d10:05 +c1@10d10:05", "1: 10:05=1 5d10:05=0/0/1 10d10:05=0/0/1");
    // The copy between joins two clicks to one.
    let long = Rules { correction_horizon_ms: 100 * DAY_MS, ..Rules::default() };
    check_with(
        long,
        "1: +c1@10:05 +c1@10d10:05 +x@20d00:00 | 2: +c1@5d10:05",
        "1: 10:05=1 10d10:05=1 20d00:00=1 |
         2: 10:05=1 5d10:05=0/0/1!duplicate 10d10:05=0/0/1!duplicate 20d00:00=1",
    );
}

#[test]
fn equal_times_are_ordered_by_price() {
    check(
        "1: +c1@10:05,price=9,ad=b +c1@10:05,price=4,ad=z | 2: +c1@10:05,price=7",
        "1: b@10:05=0/0/1 z@10:05=1 conflicting=1 | 2: 10:05=0/0/1 b@10:05=0/0/1 z@10:05=1 conflicting=2",
    );
}

#[test]
fn copies_that_differ_in_ad_user_or_price_conflict() {
    check(
        "1: +c1@10:05 +c1@10:05:01 +c1@10:05:02,ad=b +c1@10:05:03,user=u +c1@10:05:04,price=1",
        "1: 10:05=1/0/3 b@10:05=0/0/1 conflicting=3",
    );
    // An older copy changes what the others conflict with.
    check("1: +c1@10:05:01 +c1@10:05:02 | 2: +c1@10:05,price=1", "1: 10:05=1/0/1 | 2: 10:05=1/0/2 conflicting=2");
}

#[test]
fn of_verdicts_the_latest_decided_stands() {
    check("1: +c1@10:05 reject c1@10:07 accept c1@10:06", "1: 10:05=0/1");
    check("1: +c1@10:05 | 2: reject c1@10:06 | 3: accept c1@10:07 | 4: reject c1@10:08", "3: 10:05=1 | 4: 10:05=0/1");
    check("1: +c1@10:05 reject c1@10:06 accept c1@10:06", "1: 10:05=0/1");
}

#[test]
fn a_verdict_may_come_before_its_click() {
    check("1: reject c1@10:06 | 2: +c1@10:05", "1: | 2: 10:05=0/1");
    check("1: reject c1@10:06 | 2: accept c1@10:07 | 3: +c1@10:05", "3: 10:05=1");
}

#[test]
fn a_verdict_is_not_about_a_click_still_to_come() {
    check("1: +c1@10:05 reject c1@10:00", "1: 10:05=0/1");
    check("1: +c1@10:05 reject c1@09:59:59.999", "1: 10:05=1");
    // An older copy takes the click over, and the verdict is about that one.
    check(
        "1: +c1@10:05 reject c1@09:59 | 2: +c1@10:03 +x@10:20 | 3: reject x",
        "1: 10:05=1 | 2: 10:03=0/1!mixed 10:05=0/0/1 10:20=1 | 3: 10:03=0/1 10:05=0/0/1 10:20=0/1",
    );
}

#[test]
fn a_verdict_judges_every_click_of_its_id() {
    check("1: +c1@10:05 +c1@8d10:05 reject c1", "1: 10:05=0/1 8d10:05=0/1");
    check("1: +c1@10:05 +c1@8d10:05 reject c1@10:06", "1: 10:05=0/1 8d10:05=1");
}

#[test]
fn corrections_are_judged_by_the_watermark_before_the_epoch() {
    // W is 10:05:59.999 after epoch 1: 10:05 is OPEN.
    check("1: +c1@10:05 +x@10:06:29.999 | 2: reject c1", "2: 10:05=0/1 10:06=1");
    check("1: +c1@10:05 +x@10:06:30 | 2: reject c1", "2: 10:05=0/1!verdict 10:06=1");
    // What closes the window in its own epoch corrects nothing.
    check("1: +c1@10:05 | 2: +x@10:30 reject c1", "2: 10:05=0/1 10:30=1");
}

#[test]
fn a_cause_says_what_touched_the_row() {
    let start = "1: +c1@10:05 +c2@10:05 +x@10:30 | 2:";
    check(&format!("{start} +c3@10:05"), "2: 10:05=3!late 10:30=1");
    check(&format!("{start} +c3@10:04"), "2: 10:04=1!late 10:05=2 10:30=1");
    check(&format!("{start} +c1@10:05"), "2: 10:05=2/0/1!duplicate 10:30=1");
    check(&format!("{start} reject c1"), "2: 10:05=1/1!verdict 10:30=1");
    check(&format!("{start} reject c1 | 3: accept c1"), "3: 10:05=2!reversal 10:30=1");
    check(&format!("{start} reject c1 +c1@10:05"), "2: 10:05=1/1/1!mixed 10:30=1");
    check(&format!("{start} +c3@10:05 reject c3"), "2: 10:05=2/1!late 10:30=1");
}

#[test]
fn what_nets_out_within_an_epoch_is_no_correction() {
    let start = "1: +c1@10:05 +c2@10:05 +x@10:30 | 2: reject c2 | 3:";
    check(&format!("{start} reject c1 accept c2"), "2: 10:05=1/1!verdict 10:30=1 | 3: 10:05=1/1 10:30=1");
    check(&format!("{start} reject c1@10:40 accept c1@10:41"), "3: 10:05=1/1 10:30=1");
    // Two kinds touched the row although only the duplicate is left to see.
    check(&format!("{start} reject c1 accept c2 +c1@10:05"), "3: 10:05=1/1/1!mixed 10:30=1");
}

#[test]
fn a_click_below_the_floor_is_parked_for_good() {
    // F is 10:08 after epoch 1.
    check_with(
        minutes(),
        "1: +c1@10:10:30 | 2: +c2@10:07:59.999 +c3@10:08 | 3: +c2@10:07:59.999",
        "1: 10:10=1 | 2: 10:08=1!late 10:10=1 late=1 | 3: 10:08=1 10:10=1 late=2",
    );
}

#[test]
fn nothing_is_late_within_the_epoch_that_moves_the_floor() {
    check_with(minutes(), "1: +c1@10:00 +c2@10:30 | 2: +c3@10:00", "1: 10:00=1 10:30=1 | 2: 10:00=1 10:30=1 late=1");
}

#[test]
fn a_frozen_click_is_touched_by_no_verdict() {
    // F is 10:08 when the verdict comes: its click is remembered and frozen.
    check_with(minutes(), "1: +c1@10:07 +x@10:10 | 2: reject c1@10:09", "2: 10:07=1 10:10=1 verdict_late=1");
    // Decided before F: parked whatever it is about.
    check_with(minutes(), "1: +c1@10:10 | 2: reject c1@10:07", "2: 10:10=1 verdict_late=1");
    check_with(minutes(), "1: +c1@10:10 | 2: reject ghost@10:07", "2: 10:10=1 verdict_late=1");
    check_with(minutes(), "1: +c1@10:10 | 2: reject ghost@10:08", "2: 10:10=1");
}

#[test]
fn a_verdict_that_came_before_its_click_froze_stands() {
    check_with(
        minutes(),
        "1: +c1@10:07 reject c1@10:08 | 2: +x@10:10 | 3: accept c1@10:11",
        "1: 10:07=0/1 | 3: 10:07=0/1 10:10=1 verdict_late=1",
    );
}

#[test]
fn an_accepted_verdict_touches_only_what_was_not_frozen() {
    // Two clicks of one id; F is 10:08 when the verdict comes.
    check_with(minutes(), "1: +c1@10:05 +c1@10:10 | 2: reject c1@10:11", "1: 10:05=1 10:10=1 | 2: 10:05=1 10:10=0/1");
}

#[test]
fn a_verdict_finds_the_click_that_comes_in_its_own_epoch() {
    // The only click before is frozen, but the epoch brings another one, and the verdict is about that.
    check_with(minutes(), "1: +c1@10:05 +x@10:10 | 2: reject c1@10:11 +c1@10:10", "2: 10:05=1 10:10=1/1");
}

#[test]
fn a_click_forgotten_parks_no_verdict() {
    // F is 10:28, and remembered are clicks from 10:24 on.
    check_with(
        minutes(),
        "1: +c1@10:24 +c2@10:23:59.999 | 2: +x@10:30 | 3: reject c1@10:29 reject c2@10:29",
        "3: 10:23=1 10:24=1 10:30=1 verdict_late=1",
    );
}

#[test]
fn a_duplicate_stays_one_when_its_click_is_forgotten() {
    // Epoch 2 moves F to 10:07: the click of 10:00 is forgotten, and its duplicate of 10:04 is remembered. That is no click,
    // so there is none to park the verdict for.
    let start = "1: +c1@10:00 +c1@10:04,ad=b | 2: +x@10:09 | 3:";
    check_with(
        minutes(),
        &format!("{start} reject c1@10:09"),
        "2: 10:00=1 10:09=1 b@10:04=0/0/1 conflicting=1 | 3: 10:00=1 10:09=1 b@10:04=0/0/1 conflicting=1",
    );
    // And a later duplicate still conflicts with the click of 10:00, not with the copy of 10:04.
    check_with(
        minutes(),
        &format!("{start} +c1@10:08,ad=b"),
        "3: 10:00=1 10:09=1 b@10:04=0/0/1 b@10:08=0/0/1!duplicate conflicting=2",
    );
}

#[test]
fn a_copy_re_sent_after_its_click_froze_is_parked() {
    check_with(minutes(), "1: +c1@10:05 | 2: +x@10:30 | 3: +c1@10:05", "3: 10:05=1 10:30=1 late=1");
}

#[test]
fn a_copy_above_the_floor_is_a_duplicate_of_a_frozen_click() {
    check_with(
        minutes(),
        "1: +c1@10:07 +x@10:10 | 2: +c1@10:11,price=3",
        "2: 10:07=1 10:10=1 10:11=0/0/1 conflicting=1",
    );
}

#[test]
fn broken_records_are_counted_by_reason() {
    check(
        "1: broken +@10:05 +c1@10:05,ad= +c2@10:05,price=-1 +c3@10:05,price=10000000001 | 2: broken reject @10:06",
        "1: unreadable=1 click_id_missing=1 ad_id_missing=1 price_out_of_range=2 |
         2: unreadable=2 click_id_missing=2 ad_id_missing=1 price_out_of_range=2",
    );
}

#[test]
fn without_an_id_a_click_is_known_by_its_user_and_minute_where_the_policy_says_so() {
    let fallback = Rules { dedup_fallback: true, ..Rules::default() };
    check_with(
        fallback,
        "1: +@10:05:01,user=u +@10:05:40,user=u +@10:06:01,user=u +@10:05:02,user=v +@10:05:03",
        "1: 10:05=2/0/1 10:06=1 click_id_missing=1",
    );
}
