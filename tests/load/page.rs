//! The page of a run in a real browser: it loads without a word of complaint, its numbers are the JSON's, and nothing is
//! wider than the window, of a desk or of a telephone. Each check has a twin that it must refuse.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::env::{Env, text};
use crate::process::Running;
use crate::servers::process::is_skipped;

/// What a browser made of a page.
struct Loaded {
    dom: String,
    /// What it said on its console.
    console: Vec<String>,
}

/// `None` where tests are told to skip the browser.
fn load(env: &Env, page: &Path, more: &[&str]) -> Option<Loaded> {
    if is_skipped("chromium") {
        return None;
    }
    let profile = tempfile::tempdir_in(env.path("tmp")).unwrap();
    let mut command = Command::new("chromium");
    command.env("HOME", env.path("home")).env("TMPDIR", env.path("tmp")).args(QUIET).args(more);
    command.arg(format!("--user-data-dir={}", text(profile.path())));
    command.arg("--dump-dom").arg(format!("file://{}", text(page)));
    let output = Running::start(command).wait().expect(0);
    let console = output.stderr.lines().filter(|line| line.contains(":CONSOLE"));
    let console = console.map(str::to_owned).collect();
    assert!(output.stdout.contains("</html>"), "{output}");
    Some(Loaded { dom: output.stdout, console })
}

/// How much wider than a window of so many pixels a page is.
fn overflow(env: &Env, page: &Path, width: u32) -> Option<i64> {
    let frame = env.path("frame.html");
    let page = text(page);
    fs::write(&frame, FRAME.replace("PAGE", page).replace("WIDTH", &width.to_string())).unwrap();
    let loaded = load(env, &frame, &["--allow-file-access-from-files"])?;
    assert_eq!(loaded.console, [""; 0]);
    let (_, after) = loaded.dom.split_once("data-overflow=\"").expect("the frame was measured");
    Some(after.split('"').next().unwrap().parse().unwrap())
}

/// All keys with their raw values.
fn values(dom: &str) -> Vec<(&str, &str)> {
    let parts = dom.split("data-key=\"").skip(1);
    let values = parts.map(|part| {
        let (key, rest) = part.split_once('"').unwrap();
        let raw = rest.split_once("data-value=\"").expect("a value for each key").1;
        (key, raw.split('"').next().unwrap())
    });
    values.collect()
}

/// What of a page is not what the JSON says.
fn contradictions<'v>(values: &[(&'v str, &'v str)], document: &Value) -> Vec<String> {
    let is_equal = |key: &str, raw: &str| {
        let found = document.pointer(&format!("/{}", key.replace('.', "/")));
        match found {
            Some(Value::Number(number)) => raw.parse() == Ok(number.as_f64().unwrap()),
            Some(Value::String(words)) => raw == words,
            Some(other) => raw == format!("{other}"),
            None => false,
        }
    };
    let wrong = values.iter().filter(|(key, raw)| !is_equal(key, raw));
    wrong.map(|(key, raw)| format!("{key} is {raw} on the page")).collect()
}

/// Keys that a page must have for what the document has.
fn wanted(document: &Value) -> Vec<String> {
    let mut keys: Vec<String> = COUNTS.iter().map(|key| (*key).to_owned()).collect();
    let mut times = |key: String| {
        keys.extend(["p50", "p90", "p99", "p999", "max"].map(|part| format!("{key}.{part}")));
    };
    for kind in ["response_us", "service_us", "queue_wait_us", "delivery_us"] {
        if !document[kind].is_null() {
            times(kind.to_owned());
        }
    }
    for phase in document["phases"].as_object().unwrap().keys() {
        times(format!("phases.{phase}"));
    }
    // Where every message had to wait for a connection, none was late by the generator's fault.
    if !document["lateness_us"].is_null() {
        keys.push("lateness_us.p99".to_owned());
    }
    let list = |key: &str| 0..document[key].as_array().unwrap().len();
    keys.extend(list("objectives").map(|at| format!("objectives.{at}.is_met")));
    keys.extend(list("replies").map(|at| format!("replies.{at}.count")));
    let parts: &[(&str, &[&str])] = &[
        ("delivery", &["expected", "delivered", "lost", "doubled", "corrupted"]),
        ("limit", &["highest_held_per_s"]),
    ];
    for (part, names) in parts.iter().filter(|(part, _)| document[*part].is_object()) {
        let there = names.iter().filter(|name| !document[*part][**name].is_null());
        keys.extend(there.map(|name| format!("{part}.{name}")));
    }
    keys
}

/// The whole check of a page.
fn check(env: &Env, page: &Path, document: &Value) {
    let Some(loaded) = load(env, page, &[]) else { return };
    assert_eq!(loaded.console, [""; 0]);
    let values = values(&loaded.dom);
    assert_eq!(contradictions(&values, document), [""; 0], "{document}");
    for key in wanted(document) {
        assert!(values.iter().any(|(known, _)| *known == key), "{key} is not on the page");
    }
    // The twin: of another document they are not the numbers.
    let mut other = document.clone();
    other["accepted"] = json!(document["accepted"].as_u64().unwrap() + 1);
    assert_eq!(contradictions(&values, &other).len(), 1);
    for width in [1280, 400] {
        assert_eq!(overflow(env, page, width), Some(0), "at {width} pixels");
    }
}

/// The runner leaves these out where the browser is not there.
mod needs_chromium {
    use super::*;
    use crate::load::documents::{furnished, searched};

    #[test]
    fn the_page_of_a_run_shows_its_numbers() {
        let env = Env::new();
        let page = env.path("page.html");
        let document = furnished(&env, &["--html", text(&page)]).json();
        assert!(document["delivery"]["delivered"].as_u64() > Some(0), "{document}");
        check(&env, &page, &document);
        let html = fs::read_to_string(&page).unwrap();
        let place = |phase: &str| html.find(&format!("data-key=\"phases.{phase}.count\""));
        let phases = ["banner", "starttls", "tls_full", "mail", "body"].map(place);
        assert!(phases[0].is_some() && phases.is_sorted(), "phases out of order: {phases:?}");
    }

    #[test]
    fn the_page_of_a_search_shows_its_numbers() {
        let env = Env::new();
        let page = env.path("page.html");
        let document = searched(&env, &["--html", text(&page)]).json();
        check(&env, &page, &document);
    }

    /// The twin.
    #[test]
    fn a_page_that_complains_or_is_too_wide_is_noticed() {
        let env = Env::new();
        let page = env.path("page.html");
        fs::write(&page, "<!DOCTYPE html><body><p style='width:600px'>x</p>").unwrap();
        let Some(wide) = overflow(&env, &page, 400) else { return };
        assert!(wide >= 200, "{wide}");
        assert_eq!(overflow(&env, &page, 1280), Some(0));
        fs::write(&page, "<!DOCTYPE html><body><script>broken()</script>").unwrap();
        let said = load(&env, &page, &[]).unwrap().console;
        assert!(said.iter().any(|line| line.contains("broken is not defined")), "{said:?}");
    }
}

const COUNTS: [&str; 13] = [
    "verdict",
    "offered",
    "accepted",
    "refused",
    "deferred",
    "failed",
    "unknown",
    "not_started",
    "asked_per_s",
    "achieved_per_s",
    "bytes",
    "generator.descriptors_most",
    "generator.connections_most",
];

/// Measures a page in a window of its own width.
const FRAME: &str = r#"<!DOCTYPE html><html><body><iframe id=page width=WIDTH height=900
src="PAGE"></iframe><script>
onload = () => {
  const page = document.getElementById("page").contentDocument.documentElement;
  document.body.dataset.overflow = page.scrollWidth - page.clientWidth;
};
</script></body></html>
"#;

/// Without a window, without a word to anybody else, and with what pages say told.
const QUIET: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1280,900",
    "--enable-logging=stderr",
    "--v=0",
];
