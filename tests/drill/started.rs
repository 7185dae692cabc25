//! Promotion by name: a cold standby whose Postfix and Dovecot, or whose Exim, is started by the drill as an administrator would
//! start it, gets the mail, and is stopped again. What it starts is a daemon, which nobody's child is.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::real::{exim_env, open_env, with_exim};
use super::{of_class, processes_of};
use crate::env::{Env, text};
use crate::process::Output;
use crate::servers::process::program;

/// A primary that dies, and a standby on its store.
const HEAD: &str = r#"version = 1
title = "A cold standby is started"
[variables]
exim = "exim"
[objectives]
lost = 0
duplicates = 5
stranded = 0
rto = { mail = "20s" }
[secrets]
readers = { file = "/proc/sys/kernel/random/uuid" }
[lab.processes.primary]
run = ["mailrig", "serve", "--smtp", "127.0.0.1:${port.primary}", "--store", "${lab}/store", "--create", "--quiet"]
ready = { smtp = "127.0.0.1:${port.primary}" }
[roles.primary]
smtp = "127.0.0.1:${port.primary}"
store = { maildirs = "${lab}/store" }
serves = true
[traffic]
rate = "20/s"
recipients = "u{1..3}@drill.test"
to = ["primary", "standby"]
retry = ["300ms", "500ms", "1s", "1s", "1s", "1s", "2s", "2s", "4s"]
baseline = "1s"
recovered = "4s"
[[steps]]
name = "kill"
fault = { kill = "primary" }
[[steps]]
name = "its mail belongs to the standby's user"
run = { argv = ["chown", "-R", "OWNER", "${lab}/store"] }
"#;

const POSTFIX_AND_DOVECOT: &str = r#"
[[steps]]
name = "start Postfix"
promote = { to = "standby", from = "primary", start = { postfix = "${lab}/etc" }, survey = false }
[[steps]]
name = "start Dovecot"
promote = { to = "standby", start = { dovecot = "${lab}/dovecot.conf" } }
[[steps]]
name = "readers are let in"
wait_until = { probe = { imap = "standby" }, within = "20s", times = 2 }
[roles.standby]
smtp = "127.0.0.1:${port.standby}"
imap = { address = "127.0.0.1:${port.imap}", password = "readers" }
store = { maildirs = "${lab}/store" }
queue = { postfix = "${lab}/queue" }
[lab]
shared = true
ports = ["primary", "standby", "imap"]
folders = ["etc", "queue", "data", "store", "homes"]
prepare = [["sh", "-c", "cd ${lab} && chown postfix data && chown -R 5000:5000 homes"]]
[lab.files]
"mailboxes" = """
u1@drill.test drill.test/u1/
u2@drill.test drill.test/u2/
u3@drill.test drill.test/u3/
"""
"etc/main.cf" = """
compatibility_level = 3.6
enable_long_queue_ids = yes
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C MAILRIG_DRILL
queue_directory = ${lab}/queue
data_directory = ${lab}/data
maillog_file = ${logs}/postfix-mail.log
maillog_file_prefixes = ${logs}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = standby.drill.test
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = drill.test
virtual_mailbox_base = ${lab}/store
virtual_mailbox_maps = texthash:${lab}/mailboxes
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
smtpd_relay_restrictions = reject_unauth_destination
fast_flush_domains =
smtpd_peername_lookup = no
"""
"etc/master.cf" = """
127.0.0.1:${port.standby} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
flush unix n - n 1000? 0 flush
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""
"dovecot.conf" = """
base_dir = ${lab}/run
state_dir = ${lab}/state
log_path = ${logs}/dovecot-mail.log
import_environment = TZ CORE_OUTOFMEM CORE_ERROR MAILRIG_DRILL
hostname = standby.drill.test
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:${lab}/store/%d/%n
first_valid_uid = 1
default_vsz_limit = 0
passdb {
  driver = static
  args = password=${secret.readers}
}
userdb {
  driver = static
  args = uid=5000 gid=5000 home=${lab}/homes/%d/%n allow_all_users=yes
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = ${port.imap}
  }
  inet_listener imaps {
    port = 0
  }
}
"""
"#;

const EXIM: &str = r#"
[[steps]]
name = "start Exim"
promote = { to = "standby", from = "primary", start = { exim = "${lab}/configuration" } }
[roles.standby]
smtp = "127.0.0.1:${port.standby}"
store = { maildirs = "${lab}/store" }
queue = { exim = "${lab}/spool" }
[lab]
shared = true
ports = ["primary", "standby"]
folders = ["spool", "store"]
prepare = [["sh", "-c", "mkdir ${logs}/exim && chown -R Debian-exim ${lab}/spool ${logs}/exim"]]
[lab.files]
"configuration" = """
exim_path = ${exim}
primary_hostname = standby.drill.test
spool_directory = ${lab}/spool
log_file_path = ${logs}/exim/%s
daemon_smtp_ports = ${port.standby}
local_interfaces = 127.0.0.1
keep_environment = MAILRIG_DRILL
host_lookup =
deliver_drop_privilege
tls_advertise_hosts =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = rcpt

begin acl
rcpt:
  accept
    domains = drill.test
    local_parts = u1 : u2 : u3
  deny

begin routers
here:
  driver = accept
  domains = drill.test
  local_parts = u1 : u2 : u3
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = ${lab}/store/drill.test/$local_part_data
  maildir_format

begin retry
* * F,1h,1s
"""
"#;

/// Runs it, and gives what it came to.
#[track_caller]
fn passes(env: &Env, owner: &str, standby: &str, run: &dyn Fn(&Path) -> Output) -> Value {
    let scenario = env.path("standby.toml");
    fs::write(&scenario, HEAD.replace("OWNER", owner) + standby).unwrap();
    let document = run(&scenario).expect(0).json();
    assert_eq!(document["verdict"], "pass", "{document}");
    assert!(document["messages"]["accepted"].as_u64().unwrap() > 50, "{document}");
    assert_eq!(document["left"], serde_json::json!([]), "{document}");
    assert_eq!(processes_of(document["run"].as_str().unwrap()), Vec::<String>::new());
    let undos = document["undos"].as_array().unwrap();
    assert!(undos.iter().all(|undo| undo["is_done"] == true), "{document}");
    document
}

/// A step fails because of what runs already; all is undone, and what ran before ended only by its own undo.
#[track_caller]
fn is_refused(
    env: &Env,
    owner: &str,
    standby: &str,
    why: &str,
    run: &dyn Fn(&Env, &Path, &Path) -> Output,
) {
    let (scenario, out) = (env.path("standby.toml"), env.path("drill"));
    fs::write(&scenario, HEAD.replace("OWNER", owner) + standby).unwrap();
    let document = run(env, &scenario, &out).expect(6).json();
    assert!(document["aborted"].as_str().unwrap().ends_with(why), "{document}");
    assert_eq!(document["left"], serde_json::json!([]), "{document}");
    assert_eq!(processes_of(document["run"].as_str().unwrap()), Vec::<String>::new());
}

mod needs_postfix_needs_dovecot {
    use super::*;

    /// Each was started before, and is stopped as one that runs: a second stop would fail.
    #[test]
    fn a_server_that_runs_already_is_not_the_drills_to_start_and_stop() {
        for (step, start, stop, why) in [
            (
                "start Postfix",
                ["postfix", "-c", "${lab}/etc", "start"].as_slice(),
                ["postfix", "-c", "${lab}/etc", "stop"].as_slice(),
                "Postfix runs already: it is not for a drill to stop again",
            ),
            (
                "start Dovecot",
                &["dovecot", "-c", "${lab}/dovecot.conf"],
                &["doveadm", "-c", "${lab}/dovecot.conf", "stop"],
                "Dovecot runs already: it is not for a drill to stop again",
            ),
        ] {
            let head = format!("[[steps]]\nname = \"{step}\"\n");
            assert!(POSTFIX_AND_DOVECOT.contains(&head));
            let before = format!(
                "[[steps]]\nname = \"before\"\nrun = {{ argv = {start:?}, undo = {stop:?} }}\n{head}"
            );
            let standby = POSTFIX_AND_DOVECOT.replace(&head, &before);
            is_refused(&open_env(), "5000:5000", &standby, why, &|env, scenario, out| {
                env.run(&["drill", "run", text(scenario), "--out", text(out), "--json"])
            });
        }
    }

    #[test]
    fn a_postfix_and_a_dovecot_are_started_by_name_and_stopped_again() {
        let env = open_env();
        let out = env.path("drill");
        let run = |scenario: &Path| {
            env.run(&["drill", "run", text(scenario), "--out", text(&out), "--json"])
        };
        let document = passes(&env, "5000:5000", POSTFIX_AND_DOVECOT, &run);
        let logs = |name: &str| fs::read_to_string(out.join("logs").join(name)).unwrap();
        assert!(logs("postfix-mail.log").contains("status=sent"), "{document}");
        assert!(logs("dovecot-mail.log").contains("imap(u1@drill.test)"), "{document}");
    }

    #[test]
    fn what_is_put_into_another_folder_is_looked_for_where_the_scenario_says() {
        let junk = POSTFIX_AND_DOVECOT
            .replace("u2@drill.test drill.test/u2/", "u2@drill.test drill.test/u2/.Junk/")
            .replace("password = \"readers\" }\nstore =", "password = \"readers\" }\n# store =");
        let run = |standby: &str, code: i32| {
            let env = open_env();
            let (scenario, out) = (env.path("standby.toml"), env.path("drill"));
            fs::write(&scenario, HEAD.replace("OWNER", "5000:5000") + standby).unwrap();
            env.run(&["drill", "run", text(&scenario), "--out", text(&out), "--json"])
                .expect(code)
                .json()
        };
        let named =
            junk.replace("password = \"readers\"", "password = \"readers\", folders = [\"Junk\"]");
        let document = run(&named, 0);
        assert!(of_class(&document, "delivered") > 50, "{document}");
        // Whoever looks at INBOX only finds them where nobody serves: the dead one has the same store.
        let document = run(&junk, 4);
        assert!(of_class(&document, "stranded") > 5, "{document}");
    }
}

mod needs_postfix {
    use super::*;

    #[test]
    fn a_queue_that_is_not_here_is_asked_by_its_own_commands() {
        let start = POSTFIX_AND_DOVECOT.find("[[steps]]\nname = \"start Dovecot\"").unwrap();
        let end = POSTFIX_AND_DOVECOT.find("[roles.standby]").unwrap();
        let waiting = format!("{}{}", &POSTFIX_AND_DOVECOT[..start], &POSTFIX_AND_DOVECOT[end..])
            .replace("fast_flush_domains =", "fast_flush_domains =\ndefer_transports = virtual")
            .replace("imap = {", "# imap = {");
        let list = r#"postqueue -c ${lab}/etc -j | sed 's/.*"queue_id": "//; s/".*//'"#;
        let run = |list: &str, show: &str, code: i32| {
            let env = open_env();
            let (scenario, out) = (env.path("standby.toml"), env.path("drill"));
            let command =
                format!("['bash', '-c', '''set -o pipefail; {list} | xargs -rn 20 {show}''']");
            let command = format!("queue = {{ command = {command} }}");
            let standby = waiting.replace("queue = { postfix = \"${lab}/queue\" }", &command);
            let head = HEAD
                .replace("OWNER", "5000:5000")
                .replace("rto =", "# rto =")
                .replace("recovered =", "drain = \"1s\"\nrecovered =");
            fs::write(&scenario, head + &standby).unwrap();
            env.run(&["drill", "run", text(&scenario), "--out", text(&out), "--json"])
                .expect(code)
                .json()
        };
        let document = run(list, "postcat -c ${lab}/etc -qh", 0);
        assert!(of_class(&document, "pending") > 20, "{document}");
        // Without headers nobody knows what waits, and a command that fails is no evidence.
        let document = run(list, "echo", 4);
        assert!(of_class(&document, "lost") > 20, "{document}");
        for (list, show) in [(list, "false"), ("false", "postcat -c ${lab}/etc -qh")] {
            let document = run(list, show, 6);
            let sentence = document["sentence"].as_str().unwrap();
            let why = "nobody can tell: evidence: standby queue: ";
            assert!(sentence.starts_with(why), "{document}");
        }
    }
}

mod needs_exim {
    use super::*;

    #[test]
    fn an_exim_is_started_by_name_and_stopped_again() {
        let Some(installed) = program("exim", "exim/usr/sbin/exim4") else { return };
        let env = exim_env(&installed);
        let out = env.path("drill");
        let document =
            passes(&env, "Debian-exim", EXIM, &|scenario| with_exim(&env, scenario, &out));
        let log = fs::read_to_string(out.join("logs/exim/main")).unwrap();
        assert!(log.contains("Completed"), "{document}");
        assert!(!Path::new("/run/mailrig-drill-exim.pid").exists());
        let start = EXIM.find("[[steps]]").unwrap()..EXIM.find("[roles.standby]").unwrap();
        let first = EXIM[start].replace("start Exim", "start it first");
        let why = "an Exim of a drill runs already: it is not for a drill to stop again";
        is_refused(&exim_env(&installed), "Debian-exim", &(first + EXIM), why, &with_exim);
    }
}
