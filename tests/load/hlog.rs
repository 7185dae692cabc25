//! The log of histograms that a run writes, read by HdrHistogram's Python port: the same percentiles as in the document.

mod needs_hdrhistogram {
    use std::process::Command;

    use serde_json::Value;

    use crate::env::{Env, text};
    use crate::servers::process::program;
    use crate::serving::Serving;

    #[test]
    fn another_reader_finds_the_percentiles_of_the_document() {
        let Some(python) = program("hdrhistogram", "hdrhistogram-0.10.8/bin/python") else {
            return;
        };
        let env = Env::new();
        let server = Serving::start(&env, "sink", &["--sink", "--smtp", "127.0.0.1:0"]);
        let (out, address) = (env.path("out"), server.address());
        // Of a thousand each percentile has a rank: where it lies between two, readers differ in which they take.
        let plan = ["load", &address, "--rate", "500/s", "--messages", "1000", "--warmup", "1s"];
        let more = ["--plain", "--json", "--out", text(&out)];
        let document = env.run(&[&plan[..], &more].concat()).json();
        assert_eq!(document["accepted"], 1000, "{document}");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../load/tests/hlog.py");
        let log = out.join("run.hlog");
        let output = Command::new(python).arg("-B").arg(script).arg(&log).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tags = &found["each"][0];
        let phases = ["connect", "banner", "ehlo", "mail", "rcpt", "data", "body", "quit"];
        let in_phases = phases.map(|name| (name, &document["phases"][name]));
        let beside = [("response", "response_us"), ("service", "service_us")];
        let beside = beside.map(|(tag, key)| (tag, &document[key]));
        for (tag, told) in in_phases.into_iter().chain(beside) {
            for key in ["count", "p50", "p90", "p99", "p999", "max"] {
                assert_eq!(tags[tag][key], told[key], "{tag} {key}");
            }
            assert_eq!(told["count"], 1000, "{tag}");
        }
        assert_eq!(tags["warmup_response"]["count"], document["warmup"]["accepted"]);
    }
}
