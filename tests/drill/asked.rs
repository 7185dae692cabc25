//! Each question that a scenario can ask, of something that is there: its yes, and its no with the reason. A no before the
//! first step ends the run before anything is broken.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use crate::env::{Env, text};
use crate::load::real::mail::authority::Authority;
use crate::serving::Serving;

/// A server with a certificate that ends in ten days, a repository, and the roles of a scenario.
struct World {
    env: Env,
    server: Serving,
    role: String,
}

impl World {
    fn new() -> Self {
        let env = Env::new();
        for folder in ["queue", "mail", "standby"] {
            fs::create_dir(env.path(folder)).unwrap();
        }
        let authority = Authority::new();
        authority.write(&env.path(""));
        let end = SystemTime::now() + Duration::from_secs(10 * 86_400);
        authority.issue_until("mx.drill.test", end).write(&env.path(""));
        fs::write(env.path("users"), "u1@drill.test:right\n").unwrap();
        let options = ["--smtp", "127.0.0.1:0", "--submission", "127.0.0.1:0", "--users", "users"];
        let tls = ["--tls-cert", "certificate.pem", "--tls-key", "key.pem", "--plain-auth"];
        let more = ["--store", "mail", "--create"];
        let server = Serving::start(&env, "server", &[&options[..], &tls, &more].concat());
        env.store().mailbox("one").message("new/1.a.b", b"one");
        env.run(&["init", "repo", "--encryption", "none"]).expect(0);
        env.run(&["backup", "repo", text(&env.path("store"))]).expect(0);
        let (smtp, submission) = (at(&server, 0), at(&server, 1));
        let store = text(&env.path("mail")).to_owned();
        let queue = text(&env.path("queue")).to_owned();
        let role = format!(
            "smtp = \"{smtp}\"\nserves = true\nstore = {{ maildirs = \"{store}\" }}\nqueue = {{ mailrig = \"{queue}\" }}\n\
             submission = {{ address = \"{submission}\", user = \"u1@drill.test\", password = \"word\" }}\n\
             [roles.standby]\nstore = {{ maildirs = \"{}\" }}",
            text(&env.path("standby"))
        );
        Self { env, server, role }
    }

    /// The path of a scenario with these lines of its own.
    fn scenario(&self, word: &str, more: &str) -> String {
        let path = self.env.path("asked.toml");
        let text_of = format!(
            "version = 1\ntitle = \"Questions\"\n{more}\n[secrets]\nword = {{ command = [\"echo\", \"{word}\"] }}\n\
             [roles.primary]\n{}\n[traffic]\nrate = \"20/s\"\nrecipients = \"u{{1..3}}@drill.test\"\nto = [\"primary\"]\n\
             baseline = \"1s\"\nrecovered = \"500ms\"\ndrain = \"5s\"\n",
            self.role
        );
        fs::write(&path, text_of).unwrap();
        text(&path).to_owned()
    }

    /// Why the answer is no.
    fn no(&self, word: &str, probe: &str) -> Option<String> {
        let scenario = self.scenario(word, &format!("steady = [{{ {probe} }}]"));
        let document = self.env.run(&["drill", "rehearse", &scenario, "--json"]).json();
        let answers = document["answers"].as_array().unwrap();
        let no = answers.iter().find_map(|answer| answer["failed"].as_str().map(str::to_owned));
        assert_eq!(document["is_ready"], no.is_none(), "{document}");
        no
    }
}

fn at(server: &Serving, number: usize) -> String {
    server.ready["listening"][number]["address"].as_str().unwrap().to_owned()
}

#[test]
fn each_question_has_its_yes_and_its_no() {
    let world = World::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (smtp, path) = (at(&world.server, 0), |name: &str| text(&world.env.path(name)).to_owned());
    let (repo, ca, file) = (path("repo"), path("authority.pem"), path("users"));
    let here = path("");
    let certificate = |days: u32, name: &str| {
        format!(
            "certificate = {{ address = \"{smtp}\", days = {days}, tls = {{ ca = \"{ca}\", name = \"{name}\" }} }}"
        )
    };
    let snapshot = |age: &str| {
        format!(
            "snapshot = {{ repository = \"{repo}\", younger_than = \"{age}\", verified = true }}"
        )
    };
    for (store, name) in [("mail", "a"), ("mail", "b"), ("mail", "c"), ("standby", "b")] {
        let inbox = world.env.path(store).join("drill.test/u1");
        for subdir in ["cur", "new", "tmp"] {
            fs::create_dir_all(inbox.join(subdir)).unwrap();
        }
        fs::write(inbox.join("new").join(name), "Subject: x\n\n").unwrap();
    }
    let lag =
        |most: u32| format!("lag = {{ of = \"standby\", behind = \"primary\", at_most = {most} }}");
    let yes = [
        format!("tcp = \"{smtp}\""),
        format!("smtp = \"{smtp}\""),
        "submission = \"primary\"".into(),
        "dns = { name = \"localhost\", is = \"127.0.0.1\" }".into(),
        certificate(9, "mx.drill.test"),
        format!("disk = {{ folder = \"{here}\", free = \"1K\" }}"),
        snapshot("1h"),
        "queue = { of = \"primary\", at_most = 0 }".into(),
        lag(2),
        "command = { argv = [\"true\"] }".into(),
        format!("file = \"{file}\""),
    ];
    for probe in &yes {
        assert_eq!(world.no("right", probe), None, "{probe}");
    }
    let no = [
        ("right", format!("tcp = \"{nobody}\""), "refused"),
        ("right", format!("smtp = \"{nobody}\""), "refused"),
        ("wrong", yes[2].clone(), "535"),
        ("right", "dns = { name = \"localhost\", is = \"192.0.2.9\" }".into(), "127.0.0.1"),
        ("right", certificate(11, "mx.drill.test"), "then: "),
        ("right", certificate(1, "other.drill.test"), "today: "),
        ("right", format!("disk = {{ folder = \"{here}\", free = \"900000G\" }}"), "bytes free"),
        ("right", snapshot("1ms"), "old"),
        ("right", lag(1), "standby is 2 messages behind primary"),
        ("right", "command = { argv = [\"false\"] }".into(), "`false` ended with code 1"),
        ("right", "file = \"/nowhere/at/all\"".into(), "No such file"),
    ];
    for (word, probe, expected) in no {
        let no = world.no(word, &probe).unwrap_or_else(|| panic!("{probe} is true"));
        assert!(no.contains(expected), "{probe}: {no}");
    }
}

#[test]
fn a_no_before_the_first_step_ends_the_run_before_anything_is_broken() {
    let world = World::new();
    let step = "steps = [{ name = \"break it\", run = { argv = [\"touch\", \"broken\"] } }]";
    let broken = world.env.path("broken");
    for (steady, code, is_broken) in [("false", 6, false), ("true", 0, true)] {
        let more = format!("steady = [{{ command = {{ argv = [\"{steady}\"] }} }}]\n{step}");
        let (scenario, out) = (world.scenario("right", &more), world.env.path(steady));
        let run = world.env.run(&["drill", "run", &scenario, "--out", text(&out), "--json"]);
        let document = run.expect(code).json();
        assert_eq!(broken.exists(), is_broken, "{document}");
        let why = document["aborted"].as_str().unwrap_or_default();
        assert_eq!(why.contains("before the first step: `false` ended with code 1"), !is_broken);
    }
}
