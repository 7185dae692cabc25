//! A run as in the README: it ends, tells, writes its files, and its numbers agree with those of the server.

use std::fs;

use serde_json::Value;

use crate::env::{Env, text};
use crate::serving::Serving;

#[test]
fn a_run_tells_what_the_server_tells() {
    let env = Env::new();
    let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
    let (out, html) = (env.path("out"), env.path("page.html"));
    let address = server.address();
    let files = ["--out", text(&out), "--html", text(&html)];
    let plan = ["load", &address, "--rate", "100/s", "--for", "2s", "--warmup", "1s", "--json"];
    // A machine that is busy with other tests may make the generator late: then it says so.
    let result = env.run(&[&plan[..], &files].concat());
    let document = result.json();
    assert!([Some(0), Some(4), Some(6)].contains(&result.code), "{document}");
    let counted = |name: &str| document[name].as_u64().unwrap();
    assert_eq!((counted("offered"), counted("accepted"), counted("not_started")), (200, 200, 0));
    assert_eq!(document["warmup"]["accepted"], 100);
    assert_eq!(document["response_us"]["count"], 200);
    assert_eq!(document["phases"]["body"]["count"], 200);
    let written: Value =
        serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!(written["run"], document["run"]);
    let rows = fs::read_to_string(out.join("series.csv")).unwrap();
    let accepted: u64 = rows
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(5).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(accepted, 200);
    assert!(fs::read_to_string(&html).unwrap().contains("data-key=\"accepted\""));
    assert_eq!(server.stop()["counts"]["accepted"], 300);
}
