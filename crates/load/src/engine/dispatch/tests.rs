//! Arrivals are handed out once each and in order, to whoever has room, and what is left is counted.

use super::*;
use crate::engine::Pace;
use crate::engine::wire::tests::wire;
use crate::plan::{Plan, Shape, Spacing, Stage};

fn settings(pace: Pace, connections: usize, workers: usize) -> Settings {
    Settings {
        pace,
        wire: wire(),
        connections,
        messages_per_connection: 1,
        idle_connections: 0,
        retry: Vec::new(),
        idle: Duration::from_secs(5),
        drain: Duration::from_secs(5),
        deliver_wait: Duration::ZERO,
        interval: Duration::from_secs(1),
        begin: None,
        workers,
        first_index: 100,
        seed: 1,
    }
}

/// So many arrivals, all within a millisecond.
fn at_once(messages: u64) -> Pace {
    let duration = Duration::from_millis(1);
    let shape = Shape::Constant { per_s: messages as f64 * 1000.0 };
    let stage = Stage { name: "all".into(), duration, shape, is_warmup: false };
    Pace::Open(Plan::new(vec![stage], Spacing::Even, 1).unwrap())
}

/// A dispatch whose arrivals are all due.
fn due(pace: Pace, connections: usize, workers: usize) -> Dispatch {
    let start = Instant::now() - Duration::from_millis(10);
    Dispatch::new(&settings(pace, connections, workers), start)
}

fn taken(dispatch: &Dispatch) -> Vec<Job> {
    let workers = 0..dispatch.workers();
    workers.flat_map(|worker| std::iter::from_fn(move || dispatch.inbox(worker).take())).collect()
}

#[test]
fn each_arrival_is_handed_out_once_and_the_rest_is_not_started() {
    let dispatch = due(at_once(10), 3, 2);
    assert!(dispatch.pace_once(|| false).is_some());
    let mut indices: Vec<u64> = taken(&dispatch).iter().map(|job| job.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [100, 101, 102]);
    // Whoever has ended one takes the next.
    assert_eq!(dispatch.next(0).map(|job| job.index), Some(103));
    assert!(dispatch.pace_once(|| false).is_some());
    assert!(taken(&dispatch).is_empty(), "nobody has room");
    let paced = dispatch.end();
    assert_eq!((paced.offered, paced.not_started, paced.not_retried), (10, 6, 0));
    assert_eq!(paced.waits.summary(Kind::Response).map(|waits| waits.count), Some(6));
    assert!(dispatch.next(0).is_none() && dispatch.next(1).is_none());
}

#[test]
fn what_waited_for_a_session_is_not_the_generators_doing() {
    let dispatch = due(at_once(3), 1, 1);
    dispatch.pace_once(|| false);
    assert!(taken(&dispatch)[0].is_prompt);
    assert!(!dispatch.next(0).unwrap().is_prompt);
}

#[test]
fn a_message_that_waits_for_another_attempt_keeps_the_run_going() {
    let dispatch = due(at_once(1), 1, 1);
    dispatch.pace_once(|| false);
    let job = taken(&dispatch).pop().unwrap();
    let again = Again { attempts: 1, left: vec![0], accepted: 0, first_planned: job.planned };
    assert!(dispatch.again(Instant::now(), &job, again.clone()));
    let second = dispatch.next(0).unwrap();
    assert_eq!((second.index, second.again.as_ref()), (100, Some(&again)));
    assert_eq!(second.first_planned(), job.planned);
    let later = Instant::now() + Duration::from_secs(60);
    assert!(dispatch.again(later, &second, again.clone()));
    assert!(dispatch.next(0).is_none());
    assert!(dispatch.pace_once(|| false).is_some(), "it is not over");
    let paced = dispatch.end();
    assert_eq!((paced.offered, paced.not_started, paced.not_retried), (1, 0, 1));
    assert!(!dispatch.again(later, &second, again), "nothing begins any more");
}

#[test]
fn the_run_is_over_when_nothing_is_left_or_somebody_stops_it() {
    let dispatch = due(at_once(1), 1, 1);
    assert!(dispatch.pace_once(|| false).is_some());
    assert!(dispatch.next(0).is_none());
    assert!(dispatch.pace_once(|| false).is_none());
    assert!(due(at_once(5), 1, 1).pace_once(|| true).is_none());
}

#[test]
fn the_pacer_is_woken_by_a_place_that_becomes_free() {
    let stage = |per_s, ms| Stage {
        name: "part".into(),
        duration: Duration::from_millis(ms),
        shape: Shape::Constant { per_s },
        is_warmup: false,
    };
    // One at once, and one after half a second.
    let plan =
        Plan::new(vec![stage(1000.0, 1), stage(0.0, 500), stage(1000.0, 1)], Spacing::Even, 1);
    let dispatch = due(Pace::Open(plan.unwrap()), 1, 1);
    dispatch.pace_once(|| false);
    assert_eq!(taken(&dispatch).len(), 1);
    let is_free = std::thread::scope(|scope| {
        let paced = scope.spawn(|| {
            let mut jobs = Vec::new();
            while jobs.is_empty() && dispatch.pace_once(|| false).is_some() {
                jobs.extend(taken(&dispatch));
            }
            jobs
        });
        let is_free = dispatch.next(0).is_none();
        let jobs = paced.join().unwrap();
        assert!(!is_free || jobs[0].index == 101);
        is_free
    });
    assert!(is_free, "the second was due before this test came to it");
}

#[test]
fn closed_sessions_take_as_many_as_were_asked_for() {
    let pace = Pace::Closed { messages: Some(5), duration: None, warmup: Duration::ZERO };
    let dispatch = due(pace, 2, 1);
    dispatch.pace_once(|| false);
    assert_eq!(taken(&dispatch).len(), 2);
    let more: Vec<u64> = std::iter::from_fn(|| dispatch.next(0)).map(|job| job.index).collect();
    assert_eq!(more, [102, 103, 104]);
    assert!(dispatch.next(0).is_none());
    assert!(dispatch.pace_once(|| false).is_none());
    assert_eq!(dispatch.end().offered, 5);
}
