//! Made results of load tests, as they might be: a page that is met, and a search for the limit.
//! Shared by the tests and the example that writes pages to look at.

use report::load::{
    Band, Counts, Curve, Delivery, Fact, Generator, Interval, Limit, Objective, Page, Percentiles,
    Phase, Queue, Reply, Run, Step, Value, Verdict, VerdictKind,
};

/// A run of so many seconds that met its objectives, with everything measured.
pub(crate) fn met(seconds: u32) -> Page {
    let end_s = f64::from(seconds);
    Page {
        title: "Load on mx.example.org:25".into(),
        verdict: Verdict {
            kind: VerdictKind::Met,
            sentence: "All three objectives are met at 200/s: 99 % of messages were accepted \
                       within 41.2 ms of their planned start, and the queue does not grow."
                .into(),
        },
        run: run(seconds),
        objectives: vec![
            objective("p99 response", "< 500 ms", "41.2 ms", Some(true)),
            objective("errors", "< 0.1 %", "0.025 %", Some(true)),
            objective("queue growth", "≤ 0/s", "−0.02/s", Some(true)),
        ],
        remarks: Vec::new(),
        counts: Counts {
            offered: 24_000,
            accepted: 23_950,
            refused: 6,
            deferred: 41,
            failed: 3,
            unknown: 1,
            not_started: 2,
            not_retried: 5,
            asked_per_s: Some(200.0),
            achieved_per_s: 199.583_333,
            bytes: 1_294_336_512,
            more: vec![fact("connections", "Connections", Value::Count(2_412), "")],
        },
        response_us: Some(percentiles(23_950, 6_120, 41_215)),
        service_us: Some(percentiles(23_950, 5_804, 19_830)),
        response_limit_us: Some(500_000),
        spectrum: vec![
            curve("response", 6_120.0, 1.9),
            curve("service", 5_804.0, 1.35),
            curve("delivery", 48_000.0, 1.2),
        ],
        intervals: (0..seconds).map(|second| interval(second, end_s)).collect(),
        stages: stages(end_s),
        queue: Some(Queue {
            source: "postfix".into(),
            slope_per_s: -0.021,
            from_s: end_s / 12.0,
            to_s: end_s,
            from_depth: 27.0,
        }),
        phases: phases(),
        replies: replies(),
        limit: None,
        delivery: Some(Delivery {
            place: "imap://localhost:143".into(),
            expected: 23_950,
            delivered: 23_941,
            lost: 9,
            us: Some(percentiles(23_941, 48_000, 310_000)),
            ..Delivery::default()
        }),
        generator: generator(),
    }
}

/// A search that found the limit.
pub(crate) fn limit_found() -> Page {
    let tried: [(f64, u64, &str); 9] = [
        (50.0, 9_400, ""),
        (100.0, 10_900, ""),
        (200.0, 14_200, ""),
        (400.0, 88_000, ""),
        (800.0, 9_200_000, "p99 response 9.20 s, asked < 500 ms; 1,204 not started"),
        (600.0, 2_350_000, "queue grows by 74.2/s"),
        (500.0, 910_000, "p99 response 910 ms, asked < 500 ms"),
        (450.0, 340_000, ""),
        (475.0, 560_000, "p99 response 560 ms, asked < 500 ms"),
    ];
    let steps = tried.map(|(rate, p99_us, reason)| Step {
        asked_per_s: rate,
        achieved_per_s: rate.min(530.0) - 0.4,
        p50_us: Some(p99_us / 6 + 4_000),
        p99_us: Some(p99_us),
        held: Some(reason.is_empty()),
        reason: reason.into(),
    });
    let limit =
        Limit { holds_per_s: Some(450.0), breaks_per_s: Some(475.0), steps: steps.to_vec() };
    Page {
        verdict: Verdict {
            kind: VerdictKind::LimitFound,
            sentence: "450/s holds; at 475/s p99 of response is 560 ms, more than 500 ms.".into(),
        },
        objectives: Vec::new(),
        limit: Some(limit),
        ..met(120)
    }
}

/// A run that the generator could not keep up with.
pub(crate) fn invalid() -> Page {
    let mut page = met(40);
    page.verdict = Verdict {
        kind: VerdictKind::Invalid,
        sentence: "The generator was the limit: its p99 of lateness is 212 ms.".into(),
    };
    page.objectives[0] = objective("p99 response", "< 500 ms", "1.31 s", Some(false));
    page.objectives[1].is_met = None;
    page.generator.facts[0].is_bad = true;
    page.generator.advice =
        vec!["Share the plan between two machines: --shard 1/2 and --shard 2/2.".into()];
    page.remarks = vec!["Closed mode: response time is service time.".into()];
    page.stages = Vec::new();
    page.queue = None;
    page.delivery = None;
    page
}

fn run(seconds: u32) -> Run {
    Run {
        target: "mx.example.org:25".into(),
        id: "6f1c0a9be3d24785".into(),
        started: "2026-03-14 09:26:53 UTC".into(),
        duration_us: u64::from(seconds) * 1_000_000,
        command: "mailrig load mx.example.org:25 --i-own mx.example.org --rate 200/s --for 2m \
                  --warmup 10s --mix office --deliver imap://localhost:143 --queue postfix \
                  --expect 'p99<500ms,errors<0.1%' --seed 42 --html page.html"
            .into(),
        seed: Some(42),
        plan_digest: "9a3f5c1e77b0d264".into(),
        version: "mailrig 0.5.0".into(),
        more: vec![("Mode".into(), "open".into())],
    }
}

fn objective(name: &str, asked: &str, actual: &str, is_met: Option<bool>) -> Objective {
    Objective { name: name.into(), asked: asked.into(), actual: actual.into(), is_met }
}

fn fact(key: &str, label: &str, value: Value, note: &str) -> Fact {
    Fact { key: key.into(), label: label.into(), value, note: note.into(), is_bad: false }
}

fn percentiles(count: u64, p50: u64, p99: u64) -> Percentiles {
    Percentiles {
        count,
        mean: p50 as f64 * 1.2,
        p50,
        p90: (p50 * 3 + p99) / 4,
        p99,
        p999: p99 * 3,
        max: p99 * 5 + 7,
    }
}

fn curve(name: &str, from_us: f64, growth: f64) -> Curve {
    let point = |index: u32| {
        let halvings = f64::from(index) / 4.0;
        let us = from_us * (0.55 + 0.15 * halvings + 0.02 * growth.powf(halvings * 0.8));
        (1.0 - 0.5_f64.powf(halvings), us as u64)
    };
    let mut points: Vec<(f64, u64)> = (0..60).map(point).collect();
    points.push((1.0, points.last().map_or(0, |(_, us)| us * 11 / 10)));
    Curve { name: name.into(), points }
}

/// Noise that is the same each time.
fn noise(second: u32, salt: u32) -> f64 {
    let mixed = (second.wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(40_503)).rotate_left(13);
    f64::from(mixed.wrapping_mul(2_246_822_519) >> 16) / 65_536.0
}

fn interval(second: u32, end_s: f64) -> Interval {
    let (s, part) = (f64::from(second), f64::from(second) / end_s);
    let is_stall = (0.55..0.58).contains(&part);
    let asked = match part {
        part if part < 0.08 => 100.0,
        part if part < 0.4 => 150.0,
        part if part < 0.7 => 150.0 + (part - 0.4) / 0.3 * 100.0,
        _ => 200.0,
    };
    let accepted = if is_stall { asked * 0.2 } else { asked + (noise(second, 1) - 0.5) * 8.0 };
    let p50 = (5_200.0 + 2_000.0 * noise(second, 2)) * if is_stall { 40.0 } else { 1.0 };
    let p99 = p50 * (3.0 + 2.0 * noise(second, 3));
    let micros = |us: f64| (!(0.553..0.56).contains(&part)).then_some(us as u64);
    Interval {
        at_s: s,
        is_warmup: part < 0.08,
        asked_per_s: Some(asked),
        accepted_per_s: accepted,
        delivered_per_s: Some((accepted * 0.98 + noise(second, 4) * 6.0 - 2.0).max(0.0)),
        p50_us: micros(p50),
        p99_us: micros(p99),
        max_us: micros(p99 * (1.5 + 4.0 * noise(second, 5))),
        queue: Some((20.0 + 14.0 * noise(second, 6) + if is_stall { 120.0 } else { 0.0 }) as u64),
        open: Some((18.0 + 6.0 * noise(second, 7)) as u64),
    }
}

fn stages(end_s: f64) -> Vec<Band> {
    let parts =
        [("warm-up", 0.0, 0.08), ("steady", 0.08, 0.4), ("ramp", 0.4, 0.7), ("peak", 0.7, 1.0)];
    let band = |(name, from, to): (&str, f64, f64)| Band {
        name: name.into(),
        from_s: from * end_s,
        to_s: to * end_s,
        is_warmup: name == "warm-up",
    };
    parts.map(band).to_vec()
}

fn phases() -> Vec<Phase> {
    let phase = |(name, count, p50, p99): (&str, u64, u64, u64)| Phase {
        name: name.into(),
        key: if name == "queue_wait" { "queue_wait_us".into() } else { format!("phases.{name}") },
        is_alternative: name == "tls_resumed",
        us: percentiles(count, p50, p99),
    };
    let all = [
        ("queue_wait", 24_000, 62, 18_400),
        ("connect", 2_412, 210, 1_350),
        ("banner", 2_412, 640, 4_800),
        ("ehlo", 4_824, 180, 920),
        ("starttls", 2_412, 150, 700),
        ("tls_full", 240, 2_150, 6_900),
        ("tls_resumed", 2_172, 730, 2_600),
        ("auth", 2_412, 1_480, 9_400),
        ("mail", 24_000, 240, 1_900),
        ("rcpt", 26_410, 390, 3_300),
        ("data", 24_000, 170, 850),
        ("body", 24_000, 4_720, 16_200),
        ("quit", 2_412, 95, 420),
    ];
    all.map(phase).to_vec()
}

fn replies() -> Vec<Reply> {
    let reply = |(phase, code, enhanced, text, count): (&str, u16, &str, &str, u64)| Reply {
        phase: phase.into(),
        code: (code > 0).then_some(code),
        enhanced: enhanced.into(),
        text: text.into(),
        count,
        first_s: Some(10.02),
        last_s: Some(119.7),
    };
    let all = [
        ("body", 250, "2.0.0", "Ok: queued as ID", 23_950),
        ("rcpt", 450, "4.2.0", "ADDRESS: Recipient address rejected: Greylisted", 41),
        ("rcpt", 550, "5.1.1", "ADDRESS: Recipient address rejected: User unknown", 6),
        ("body", 0, "", "connection reset by peer", 1),
    ];
    all.map(reply).to_vec()
}

fn generator() -> Generator {
    Generator {
        lateness_us: Some(percentiles(24_000, 61, 412)),
        facts: vec![
            fact("generator.cpu_share", "CPU", Value::Share(0.183), "of 2 cores"),
            fact("generator.descriptors", "Descriptors", Value::Count(212), "of 65,536"),
            fact("generator.ports", "Ports", Value::Count(1_804), "of 28,232"),
            fact("generator.retransmitted", "Retransmissions", Value::Count(3), ""),
        ],
        advice: Vec::new(),
    }
}
