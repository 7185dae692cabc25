//! The scenarios that need more than this program: servers that nobody here wrote, and a kernel that gives a drill a network
//! and disks of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::shipped::{Run, fails_in, passes_in};
use super::{drill, of_class, scenario};
use crate::env::{Env, text};
use crate::process::{Output, Running};
use crate::servers::process::program;

/// A folder that servers with users of their own can reach.
pub(super) fn open_env() -> Env {
    let env = Env::new();
    fs::set_permissions(env.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    env
}

/// With an Exim in it: it starts itself again as a user who need not be able to look into the cache folder.
pub(super) fn exim_env(installed: &Path) -> Env {
    let env = open_env();
    fs::copy(installed, env.path("exim")).unwrap();
    fs::set_permissions(env.path("exim"), fs::Permissions::from_mode(0o755)).unwrap();
    env
}

/// With the user whom Exim was made for, whom this system need not have, and where `exim` is that of [`exim_env`].
pub(super) fn with_exim(env: &Env, scenario: &Path, out: &Path) -> Output {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let group = fs::read_to_string("/etc/group").unwrap();
    fs::write(env.path("passwd"), passwd + "Debian-exim:x:5001:5001::/:/bin/sh\n").unwrap();
    fs::write(env.path("group"), group + "Debian-exim:x:5001:\n").unwrap();
    let mut command = env.isolated(Command::new("unshare"));
    let script = "mount --bind passwd /etc/passwd && mount --bind group /etc/group && \
         PATH=\"$PWD:$PATH\" exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_mailrig")]);
    let exim = format!("exim={}", env.path("exim").display());
    command.args(["drill", "run", text(scenario), "--set", &exim, "--out", text(out), "--json"]);
    Running::start(command).wait()
}

const PLAIN: Run<'_> = &|env, scenario, out| drill(env, scenario, out, &[]);

mod needs_namespaces {
    use super::*;

    #[test]
    fn a_full_disk_refuses_and_one_that_says_yes_first_is_found_out() {
        let document = passes_in(&Env::new(), "disk-full", PLAIN);
        assert!(document["messages"]["attempts"].as_u64() > document["messages"]["sent"].as_u64());
        let env = Env::new();
        fails_in(&env, "disk-full", "lost", PLAIN);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(text(&env.path("drill"))), "{mounts}");
    }
}

mod needs_postfix {
    use super::*;

    #[test]
    fn what_a_dead_postfix_had_is_brought_over_and_a_queue_in_memory_is_found_out() {
        let document = passes_in(&open_env(), "postfix-pair", PLAIN);
        assert!(document["messages"]["accepted"].as_u64().unwrap() > 100, "{document}");
        let document = fails_in(&open_env(), "postfix-pair", "lost", PLAIN);
        assert!(of_class(&document, "lost") > 20, "{document}");
    }
}

mod needs_namespaces_needs_postfix {
    use super::*;

    #[test]
    fn an_address_moves_and_one_that_nobody_hears_of_is_found_out() {
        let document = passes_in(&open_env(), "address", PLAIN);
        assert!(document["messages"]["attempts"].as_u64() > document["messages"]["sent"].as_u64());
        let document = fails_in(&open_env(), "address", "stranded", PLAIN);
        assert!(of_class(&document, "stranded") > 20, "{document}");
        // What a drill makes of a network is nowhere but in its own.
        let links = fs::read_to_string("/proc/net/dev").unwrap();
        assert!(!links.contains("node0") && !links.contains("drill:"), "{links}");
    }
}

mod needs_postfix_needs_dovecot_needs_haproxy {
    use super::*;

    #[test]
    fn readers_find_their_mail_at_the_other_dovecot_and_an_empty_store_is_found_out() {
        let document = passes_in(&open_env(), "haproxy", PLAIN);
        let outages = document["rto"].as_array().unwrap();
        let reading = outages.iter().find(|outage| outage["service"] == "reading").unwrap();
        assert!(reading["rto_us"].as_u64().unwrap() > 0, "{document}");
        assert!(document["continuity"]["looks"].as_u64().unwrap() > 100, "{document}");
        assert!(of_class(&document, "expunged") > 5, "{document}");
        let document = fails_in(&open_env(), "haproxy", "stranded", PLAIN);
        assert!(of_class(&document, "stranded") > 20, "{document}");
        assert!(document["continuity"]["breaches"].as_u64().unwrap() > 0, "{document}");
    }

    /// Whoever copies an old store over a new one brings back what people have removed meanwhile. A lock that comes back
    /// would keep Dovecot waiting for whoever had it.
    #[test]
    fn what_readers_had_removed_and_a_copy_brings_back_is_found_out() {
        let ghosts = "[[steps]]\nname = \"a copy of the store\"\n\
            run = { argv = [\"sh\", \"-c\", \"cp -a ${lab}/store ${lab}/old; find ${lab}/old -name '*.lock' -delete\"] }\n\
            [[steps]]\nname = \"the copy comes back\"\nafter = \"4s\"\n\
            run = { argv = [\"sh\", \"-c\", \"cp -an ${lab}/old/. ${lab}/store || true\"] }\n";
        let readers = "clients = 3, expunge_every = ";
        let all = fs::read_to_string(scenario("haproxy")).unwrap();
        let head = &all[..all.find("[[steps]]").unwrap()];
        let all = head.replace(&format!("{readers}7"), &format!("{readers}1"));
        let allowed = all.replace("[objectives]\n", "[objectives]\nresurrected = 1000\n");
        for (head, steps, code) in [(&all, ghosts, 4), (&all, "", 0), (&allowed, ghosts, 0)] {
            let env = open_env();
            let (path, out) = (env.path("ghosts.toml"), env.path("drill"));
            fs::write(&path, format!("{head}{steps}")).unwrap();
            let run = env.run(&["drill", "run", text(&path), "--out", text(&out), "--json"]);
            let document = run.expect(code).json();
            assert_eq!(of_class(&document, "resurrected") > 0, !steps.is_empty(), "{document}");
            assert!(of_class(&document, "expunged") > 50, "{document}");
            assert_eq!(of_class(&document, "lost"), 0, "{document}");
        }
    }
}

mod needs_postfix_needs_dovecot_needs_garage {
    use super::*;

    #[test]
    fn a_lost_store_comes_back_from_garage_with_its_uids_and_one_without_them_is_found_out() {
        let Some(garage) = program("garage", "garage-2.5.0/bin/garage") else { return };
        let garage = format!("garage={}", garage.display());
        let run: Run<'_> = &|env, scenario, out| drill(env, scenario, out, &["--set", &garage]);
        let document = passes_in(&open_env(), "lost-store", run);
        let messages = &document["messages"];
        assert_eq!(messages["sent"], messages["accepted"], "{document}");
        assert_eq!(messages["attempts"], messages["accepted"], "{document}");
        let lost = of_class(&document, "lost");
        assert_eq!((document["rpo"]["final"]["messages"].as_u64(), lost > 0), (Some(lost), true));
        let document = fails_in(&open_env(), "lost-store", "imap_breaches", run);
        assert!(document["continuity"]["breaches"].as_u64().unwrap() > 5, "{document}");
    }
}

mod needs_exim {
    use super::*;

    #[test]
    fn what_a_dead_exim_had_is_brought_over_and_a_new_disk_is_found_out() {
        let Some(installed) = program("exim", "exim/usr/sbin/exim4") else { return };
        let run: Run<'_> = &|env, name, out| with_exim(env, &scenario(name), out);
        let document = passes_in(&exim_env(&installed), "exim-pair", run);
        assert!(document["messages"]["accepted"].as_u64().unwrap() > 100, "{document}");
        let document = fails_in(&exim_env(&installed), "exim-pair", "lost", run);
        assert!(of_class(&document, "lost") > 20, "{document}");
    }
}
