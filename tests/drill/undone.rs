//! What undoing leaves, and what it does not: a server that it has started again stays, a step that was cut off goes on no
//! more, and what could not be undone is told whatever else has failed.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::odd::{LAB, assert_gone, journal, put, run, with_bin};
use crate::env::{Env, text, wait_until};

/// A command that starts a server, as an init script would, and writes down its number.
fn starts(pid_file: &Path) -> String {
    let script =
        format!("setsid sleep 397 >/dev/null 2>&1 </dev/null & echo $! > {}", pid_file.display());
    format!("[\"sh\", \"-c\", \"{script}\"]")
}

/// The process, unless it has ended.
fn running(pid_file: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    if state.is_empty() || state.starts_with(['Z', 'X']) { None } else { Pid::from_raw(pid) }
}

/// Ends the server; false: it was not there any more.
fn end(pid_file: &Path) -> bool {
    running(pid_file).is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
}

#[test]
fn a_server_that_runs_again_after_the_drill_stays_and_one_that_ran_for_it_ends() {
    let env = Env::new();
    let (undone, back, forward, step) =
        (env.path("undone"), env.path("back"), env.path("forward"), env.path("step"));
    let steps = format!(
        "[[steps]]\nname = \"stop it\"\nrun = {{ argv = [\"true\"], undo = {} }}\n\
         [[steps]]\nname = \"another serves\"\npromote = {{ to = \"a\", run = [{{ argv = {} }}] }}\n\
         [[steps]]\nname = \"help\"\nrun = {{ argv = {} }}\n\
         [[steps]]\nname = \"as before\"\nfailback = {{ to = \"a\", run = [{{ argv = {} }}] }}\n",
        starts(&undone),
        starts(&forward),
        starts(&step),
        starts(&back),
    );
    let out = env.path("out");
    run(&env, &format!("{LAB}{steps}"), &out).expect(0);
    assert_gone(&out);
    let stays = [&undone, &forward, &step, &back].map(|file| end(file));
    assert_eq!(stays, [true, false, false, true]);
}

#[test]
fn a_step_that_is_cut_off_does_nothing_more_while_it_is_undone() {
    let env = Env::new();
    let out = env.path("out");
    let (begun, fault) = (env.path("begun"), env.path("fault"));
    // It goes on as soon as undoing has begun, if it still can.
    let script = format!(
        "echo $$ > {0}; (until grep -q abor[t]ed {1}/journal.jsonl; do sleep 0.01; done; touch {2}) | cat",
        begun.display(),
        out.display(),
        fault.display()
    );
    let steps = format!(
        "[[steps]]\nname = \"first\"\nrun = {{ argv = [\"true\"], undo = [\"sleep\", \"2\"] }}\n\
         [[steps]]\nname = \"cut off\"\ntimeout = \"700ms\"\n\
         run = {{ argv = [\"sh\", \"-c\", \"{script}\"], undo = [\"rm\", \"-f\", \"{0}\"], undone = [\"test\", \"!\", \"-e\", \"{0}\"] }}\n",
        fault.display()
    );
    let document = run(&env, &format!("{LAB}{steps}"), &out).expect(6).json();
    let why = document["aborted"].as_str().unwrap();
    assert!(why.starts_with("step `cut off`: "), "{document}");
    assert!(!fault.exists(), "{}", journal(&out));
    wait_until("the shell is gone", || running(&begun).is_none());
    assert_gone(&out);
}

mod needs_namespaces {
    use super::*;

    /// Two nodes, the first of which has a third address.
    fn nodes() -> String {
        LAB.replace(
            "ports = [\"a\"]",
            "network = \"10.77.0.1/24\"\nnodes = { a = [\"10.77.0.2\", \"10.77.0.100\"], b = [\"10.77.0.3\"] }",
        )
        .replace("\"127.0.0.1:${port.a}\"", "\"10.77.0.100:2525\"")
        .replace("[lab.processes.a]", "[lab.processes.a]\nnode = \"a\"")
        .replace("[roles.a]", "[roles.b]\non = { node = \"b\" }\n[roles.a]\non = { node = \"a\" }")
    }

    /// A step whose undo, done after those of later steps, writes down who has the address, and who is thought to have it.
    fn looks(env: &Env) -> String {
        ["a", "b"]
            .map(|node| {
                let file = env.path(node);
                format!(
                    "[[steps]]\nname = \"look at {node}\"\nrun = {{ on = \"{node}\", argv = [\"true\"], \
                     undo = [\"sh\", \"-c\", \"ip -br link show dev eth0 > {0}; ip -o address show dev eth0 to 10.77.0.100 >> {0}\"] }}\n",
                    file.display()
                )
            })
            .concat()
            + &format!(
                "[[steps]]\nname = \"look around\"\nrun = {{ argv = [\"true\"], undo = [\"sh\", \"-c\", \"ip neigh show 10.77.0.100 > {}\"] }}\n",
                env.path("neighbour").display()
            )
    }

    #[test]
    fn what_fills_a_disk_ends_before_it_is_removed() {
        let lab = LAB
            .replace("[lab]\n", "[lab]\ndisks = { small = { size = \"64M\", inodes = 60000 } }\n");
        let step = "[[steps]]\nname = \"fill\"\ntimeout = \"30ms\"\n\
                    fault = { fill = { folder = \"${lab}/small\", inodes = true, leave = \"0\" } }\n";
        let env = Env::new();
        let out = env.path("out");
        let document = run(&env, &format!("{lab}{step}"), &out).expect(6).json();
        let why = "step `fill`: it took longer than 0.03 s";
        assert_eq!(document["aborted"], why, "{document}");
        assert_eq!(document["left"], serde_json::json!([]), "{document}");
        assert_gone(&out);
    }

    const MOVES: &str = "[[steps]]\nname = \"move\"\n\
        promote = { to = \"b\", from = \"a\", address = { address = \"10.77.0.100/24\" } }\n";

    /// The address of the network card, and whether it has the third one.
    fn card(env: &Env, node: &str) -> (String, bool) {
        let text = fs::read_to_string(env.path(node)).unwrap();
        let (card, rest) = text.split_once('\n').unwrap();
        let card = card.split_whitespace().nth(2).unwrap();
        (card.to_owned(), rest.contains("10.77.0.100/24"))
    }

    #[test]
    fn an_address_that_has_moved_goes_back_and_its_neighbours_hear_of_it() {
        let env = Env::new();
        let out = env.path("out");
        let moved = format!(
            "[[steps]]\nname = \"look in between\"\nrun = {{ argv = [\"sh\", \"-c\", \"ip neigh show 10.77.0.100 > {}\"] }}\n",
            env.path("between").display()
        );
        let scenario = format!("{}{}{MOVES}{moved}", nodes(), looks(&env));
        // A server is lost with the address; what it comes to is not asked here.
        let document = run(&env, &scenario, &out).json();
        assert_eq!(document["left"], serde_json::json!([]), "{document}");
        assert_eq!(document["aborted"], serde_json::Value::Null, "{document}");
        let ((of_a, has_a), (of_b, has_b)) = (card(&env, "a"), card(&env, "b"));
        assert_eq!((has_a, has_b), (true, false), "{document}");
        let neighbour = |name: &str| fs::read_to_string(env.path(name)).unwrap();
        let (between, end) = (neighbour("between"), neighbour("neighbour"));
        assert!(between.contains(&of_b) && !between.contains(&of_a), "{of_a} {of_b} {between}");
        assert!(end.contains(&of_a) && !end.contains(&of_b), "{of_a} {of_b} {end}");
        assert_gone(&out);
    }

    #[test]
    fn an_address_is_taken_from_nobody_who_had_it_before() {
        let add = |node: &str, verb: &str| {
            format!(
                "[[steps]]\nname = \"{verb} {node}\"\n\
                 run = {{ on = \"{node}\", argv = [\"ip\", \"address\", \"{verb}\", \"10.77.0.100/24\", \"dev\", \"eth0\"] }}\n"
            )
        };
        for (before, why, had) in [
            (
                add("b", "add"),
                "10.77.0.100 is on eth0 of b already: it is not for a drill",
                [true, true],
            ),
            (add("a", "del"), "10.77.0.100 is not on eth0 of a", [false, false]),
        ] {
            let env = Env::new();
            let out = env.path("out");
            let scenario = format!("{}{}{before}{MOVES}", nodes(), looks(&env));
            let document = run(&env, &scenario, &out).expect(6).json();
            assert!(document["aborted"].as_str().unwrap().contains(why), "{document}");
            assert_eq!(document["left"], serde_json::json!([]), "{document}");
            assert_eq!([card(&env, "a").1, card(&env, "b").1], had, "{document}");
            assert_gone(&out);
        }
    }

    #[test]
    fn an_address_that_does_not_go_away_again_is_told() {
        let env = with_bin();
        let real = "exec /usr/sbin/ip \"$@\"";
        let only_back =
            format!("case \"$*\" in *del*) test -e $(dirname $0)/stuck && exit 2;; esac; {real}");
        put(&env, "ip", &only_back);
        let stick = format!(
            "[[steps]]\nname = \"stuck\"\nrun = {{ argv = [\"touch\", \"{}\"] }}\n",
            env.path("bin/stuck").display()
        );
        let out = env.path("out");
        let document = run(&env, &format!("{}{MOVES}{stick}", nodes()), &out).expect(5).json();
        let left = document["left"].as_array().unwrap();
        assert_eq!(left.len(), 1, "{document}");
        assert!(left[0].as_str().unwrap().contains("ip address del 10.77.0.100/24 dev eth0"));
    }
}

mod needs_tmpfs {
    use super::*;
    use crate::full_disk::Tmpfs;

    /// The verdict that nobody can have, and a disk that fills as it is told.
    #[test]
    fn what_is_left_is_told_also_when_the_disk_is_full() {
        let stays =
            "[[steps]]\nname = \"stays\"\nrun = { argv = [\"true\"], undo = [\"false\"] }\n";
        let (fill, nearly) = ("head -c 9M /dev/zero > filler", "truncate -s -8192 filler");
        let midst = format!(
            "{stays}[[steps]]\nname = \"full\"\nrun = {{ argv = [\"sh\", \"-c\", \"cd DISK; {fill}; true\"] }}\n\
             [[steps]]\nname = \"long\"\nrun = {{ argv = [\"sleep\", \"600\"] }}\ntimeout = \"10m\"\n"
        );
        let end =
            format!("{stays}[[undo]]\nargv = [\"sh\", \"-c\", \"cd DISK; {fill}; {nearly}\"]\n");
        for scenario in [&midst, &end] {
            for json in [true, false] {
                let env = Env::new();
                let Some(disk) = Tmpfs::mount(env.path("disk"), "8m") else { return };
                let out = disk.path().join("out");
                let scenario = format!("{LAB}{scenario}").replace("DISK", text(disk.path()));
                let path = env.path("left.toml");
                fs::write(&path, scenario).unwrap();
                let mut args = vec!["drill", "run", text(&path), "--out", text(&out)];
                args.extend(json.then_some("--json"));
                let left = env.run(&args).expect(5);
                assert!(left.stderr.contains("by hand: false"), "{left}");
                let is_told = left.stderr.contains("and the report is not whole: ");
                assert!(is_told, "{left}");
                assert_gone(&out);
            }
        }
    }
}
