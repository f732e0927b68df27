use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTES: Duration = Duration::from_mins(20);

fn now() -> (Instant, SystemTime) {
    let own = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000);
    (Instant::now(), own)
}

/// An answer that took a tenth of a second.
fn answer(at: Instant, own: SystemTime, date: SystemTime) -> Answer {
    Answer {
        asked: at,
        answered: at + SECOND / 10,
        own,
        date,
        refused: false,
    }
}

#[test]
fn clocks_that_agree_within_what_an_answer_tells_are_ours() {
    let (at, own) = now();
    let mut clock = Estimate::default();
    for date in [own, own - SECOND, own - 5 * SECOND, own + 5 * SECOND] {
        clock.learn(answer(at, own, date));
        clock.learn(answer(at, own, date));
        assert_eq!(clock.time_at(at, own), own);
        assert!(clock.ahead_seconds.abs() <= 5.0);
    }
    // An answer that was long on its way says less.
    let mut slow = answer(at, own, own - MINUTES);
    slow.answered = at + MINUTES;
    clock.learn(slow);
    assert!(clock.followed.is_none() && !clock.contradicted);
}

#[test]
fn a_second_answer_confirms_the_first_and_a_refusal_needs_none() {
    let (at, own) = now();
    for (date, sign) in [(own - MINUTES, 1.0), (own + MINUTES, -1.0)] {
        let mut clock = Estimate::default();
        assert_eq!(clock.learn(answer(at, own, date)), Duration::ZERO);
        assert_eq!(clock.time_at(at, own), own, "one answer");
        assert!(clock.ahead_seconds.abs() < 1.0);
        let moved = clock.learn(answer(at, own, date));
        assert!(moved.abs_diff(MINUTES) < 2 * SECOND, "{moved:?}");
        assert!((clock.ahead_seconds - sign * 1200.0).abs() < 2.0);

        let mut refused = answer(at, own, date);
        refused.refused = true;
        let mut clock = Estimate::default();
        clock.learn(refused);
        // It goes on by the monotonic clock, whatever ours does.
        let later = clock.time_at(at + MINUTES, SystemTime::UNIX_EPOCH);
        assert!(distance(later, date + MINUTES) < 2 * SECOND);
    }
}

#[test]
fn a_stray_answer_moves_nothing() {
    let (at, own) = now();
    let mut clock = Estimate::default();
    for _ in 0..10 {
        clock.learn(answer(at, own, own - MINUTES));
        clock.learn(answer(at, own, own));
    }
    assert!(clock.followed.is_none());
}

#[test]
fn a_repaired_clock_is_used_again() {
    let (at, own) = now();
    let mut clock = Estimate::default();
    for _ in 0..2 {
        clock.learn(answer(at, own, own - MINUTES));
    }
    assert!(clock.followed.is_some());
    for _ in 0..2 {
        clock.learn(answer(at, own - MINUTES, own - MINUTES));
    }
    assert!(clock.followed.is_none());
    assert!(clock.ahead_seconds.abs() < 1.0);
}

#[test]
fn more_than_a_day_is_reported_and_not_followed() {
    let (at, own) = now();
    let mut clock = Estimate::default();
    let mut refused = answer(at, own, own - Duration::from_hours(25));
    refused.refused = true;
    clock.learn(refused);
    assert_eq!(clock.time_at(at, own), own);
    // An object's age is the store's business.
    let measured = clock.measured_at(at, own);
    assert!(distance(measured, own - Duration::from_hours(25)) < 2 * SECOND);
    let skew = ClockSkew {
        ahead_seconds: clock.ahead_seconds,
    };
    assert!(!skew.is_corrected());
    let text = skew.describe("our clock");
    assert!(text.starts_with("our clock is 25 hours ahead"), "{text}");
    assert!(text.contains("refuses signed URLs"), "{text}");
}

#[test]
fn a_difference_is_described_by_its_minutes() {
    for (ahead_seconds, size) in [
        (-6.0, "less than two minutes behind"),
        (1200.4, "20 minutes ahead of"),
        (1199.6, "20 minutes ahead of"),
        (-7200.0, "2 hours behind"),
    ] {
        let text = ClockSkew { ahead_seconds }.describe("our clock");
        assert!(text.contains(size), "{text}");
        assert!(text.contains("signed with the store's time"), "{text}");
    }
}

#[test]
fn a_date_is_read_as_http_writes_it() {
    let seconds = Duration::from_secs(784_111_777);
    let read = parse("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(read, Some(SystemTime::UNIX_EPOCH + seconds));
    assert_eq!(parse("yesterday"), None);
}

proptest! {
    /// Whatever the clocks' difference up to a day: after two answers the time is right within what they tell.
    #[test]
    fn two_answers_are_enough(ahead_ms in -86_000_000_i64..86_000_000, took_ms in 0_u64..30_000, fraction_ms in 0_u64..1000) {
        let (asked, own) = now();
        let by = Duration::from_millis(ahead_ms.unsigned_abs());
        let store = if ahead_ms > 0 { own - by } else { own + by };
        let date = store - Duration::from_millis(took_ms / 2 + fraction_ms);
        let answered = asked + Duration::from_millis(took_ms);
        let mut clock = Estimate::default();
        for _ in 0..2 {
            clock.learn(Answer { asked, answered, own, date, refused: false });
        }
        let error = distance(clock.time_at(answered, own), store);
        prop_assert!(error <= TOLERANCE + RESOLUTION + Duration::from_millis(took_ms), "{error:?}");
    }
}
