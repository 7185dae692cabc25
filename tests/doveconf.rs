//! `--from-doveconf` with the real doveconf and with programs that pretend to be it, and the keys
//! without which mail that mail_crypt encrypted is unreadable.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::env::{Env, text};
use crate::process::Output;
use crate::servers::process::is_skipped;
use crate::store::set_mode;

/// A program that prints `text`, or does something else.
pub(crate) fn pretend(env: &Env, script: &str) -> PathBuf {
    let path = env.path("doveconf");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    set_mode(&path, 0o755);
    path
}

fn print(text: &str) -> String {
    format!("cat <<'END'\n{text}\nEND")
}

fn ask(env: &Env, program: &Path, more: &[&str]) -> Output {
    env.backup(&[&["--from-doveconf", "--doveconf", text(program), "--json"][..], more].concat())
}

fn notices(report: &Value) -> Vec<&str> {
    report["notices"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect()
}

/// Alice has a uidlist in a control folder, and a mailbox below a home.
fn furnish(env: &Env) {
    env.store().mailbox("example.org/alice/Maildir").fill("", 2, 1);
    for place in ["control", "other"] {
        let control = env.path(place).join("example.org/alice/.INBOX");
        fs::create_dir_all(&control).unwrap();
        fs::write(control.join("dovecot-uidlist"), place).unwrap();
    }
}

fn restored_uidlist(env: &Env) -> String {
    let to = tempfile::tempdir_in(env.path("tmp")).unwrap().path().to_owned();
    env.run(&["restore", env.repo(), "latest", "--to", text(&to)]).expect(0);
    let uidlist = "example.org/alice/Maildir/mailrig.outside/control/.INBOX/dovecot-uidlist";
    fs::read_to_string(to.join(uidlist)).unwrap()
}

mod needs_dovecot {
    use super::*;

    /// The real program, on a configuration of the test's own.
    #[test]
    fn places_are_those_that_dovecot_says() {
        if is_skipped("dovecot") {
            return;
        }
        let env = Env::encrypted();
        furnish(&env);
        let configuration = env.path("dovecot.conf");
        let (store, control) = (env.path("store"), env.path("control"));
        let (store, control) = (store.display(), control.display());
        let text = format!(
            "mail_location = maildir:~/Maildir:CONTROL={control}/%d/%n\nmail_home = {store}/%d/%n\n\
             plugin {{\n  mail_crypt_global_private_key = secret\n}}\n"
        );
        fs::write(&configuration, text).unwrap();
        let program =
            pretend(&env, &format!("exec /usr/bin/doveconf -c {} \"$@\"", configuration.display()));
        let report = ask(&env, &program, &[]).expect(0).json();
        let said = notices(&report);
        assert!(said[0].starts_with("Dovecot 2."), "{said:?}");
        assert!(said[0].contains(&format!("CONTROL {control}/%d/%n")), "{said:?}");
        assert!(
            said[1].starts_with("mail_crypt's keys are in Dovecot's configuration"),
            "{said:?}"
        );
        assert_eq!(restored_uidlist(&env), "control");
    }
}

#[test]
fn explicit_options_win_and_what_stays_open_is_told() {
    let env = Env::encrypted();
    furnish(&env);
    let settings = format!(
        "# 2.4.1 (x): /etc/dovecot/dovecot.conf\nmail_driver = maildir\n\
         mail_control_path = {}/%{{user|domain}}/%{{user|username}}\nuserdb sql {{\n  query = x\n}}",
        env.path("control").display()
    );
    let program = pretend(&env, &print(&settings));
    let report = ask(&env, &program, &[]).expect(0).json();
    assert!(notices(&report)[1].contains("userdb sql may give users homes"), "{report}");
    assert_eq!(restored_uidlist(&env), "control");
    let other = format!("{}/%d/%n", env.path("other").display());
    ask(&env, &program, &["--control", &other]).expect(0);
    assert_eq!(restored_uidlist(&env), "other");
}

#[test]
fn one_sieve_script_for_all_users_ends_no_run() {
    let env = Env::encrypted();
    furnish(&env);
    env.store().mailbox("example.org/bob/Maildir").fill("", 2, 2);
    let scripts = env.path("scripts");
    fs::create_dir(&scripts).unwrap();
    fs::write(scripts.join("all.sieve"), "keep;").unwrap();
    let scripts = scripts.canonicalize().unwrap();
    let settings = format!(
        "mail_location = maildir:~/Maildir\nplugin {{\n  sieve = {}/all.sieve\n}}",
        scripts.display()
    );
    let program = pretend(&env, &print(&settings));
    let report = ask(&env, &program, &[]).expect(0).json();
    let kept = format!("kept with no mailbox: keep it with --with {}", scripts.display());
    assert!(notices(&report).iter().any(|notice| notice.ends_with(&kept)), "{report}");
    // Who does so is not told every night.
    let report = ask(&env, &program, &["--with", text(&scripts)]).expect(0).json();
    assert!(!report["notices"].to_string().contains("--with"), "{report}");
    // What is given by hand is meant for each mailbox.
    let all = scripts.join("all.sieve");
    ask(&env, &program, &["--sieve", text(&all)]).expect(2);
}

#[test]
fn a_doveconf_that_is_of_no_help_ends_the_run_with_a_sentence() {
    let env = Env::encrypted();
    furnish(&env);
    let refuse = |script: &str, sentence: &str| {
        let program = pretend(&env, script);
        let error = ask(&env, &program, &[]).expect(1).error();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(sentence), "{message}");
    };
    let mdbox = "Dovecot has mail as mdbox (mail_location = mdbox:~/m), which is not backed up";
    refuse(&print("mail_location = mdbox:~/m"), mdbox);
    refuse("echo no such file >&2; exit 89", "it failed (exit status: 89): no such file");
    refuse("exit 1", "it failed (exit status: 1), and says nothing on standard error");
    refuse("exec >&- 2>&-; exec sleep 600", "it has not ended after 10 s");
    refuse("exec cat /dev/zero", "it prints more than 1024 KiB");
    let none = env.path("none");
    let error = ask(&env, &none, &[]).expect(1).error();
    let running = format!("running {}", none.display());
    assert!(error["message"].as_str().unwrap().starts_with(&running), "{error}");
}

#[test]
fn mail_that_is_encrypted_without_its_keys_is_told() {
    let env = Env::encrypted();
    let mailbox = env.store().mailbox("example.org/alice/Maildir");
    mailbox.fill("", 2, 1).message("cur/1700000000.M1P1.host:2,S", b"CRYPTED\x03\x07\x02rest");
    let warns = |report: &Value| {
        notices(report)
            .iter()
            .any(|n| n.starts_with("1 mailbox has mail that mail_crypt encrypted"))
    };
    let report = env.backup(&["--json"]).expect(0).json();
    assert_eq!(report["messages"]["encrypted"], 1);
    assert!(warns(&report), "{report}");
    // With keys in the configuration that goes along, or in the mailbox, all is there.
    let keys = env.path("etc/dovecot");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("private.pem"), "key").unwrap();
    let report = env.backup(&["--json", "--rehash", "--with", text(&keys)]).expect(0).json();
    assert!(report["messages"]["encrypted"] == json!(1) && !warns(&report), "{report}");
    let report = env.backup(&["--json", "--rehash"]).expect(0).json();
    assert!(warns(&report), "{report}");
    mailbox.message("dovecot-attributes", b"keys");
    let report = env.backup(&["--json", "--rehash"]).expect(0).json();
    assert!(report["messages"]["encrypted"] == json!(1) && !warns(&report), "{report}");
}

#[test]
fn a_program_that_prints_nothing_is_not_doveconf() {
    let env = Env::encrypted();
    furnish(&env);
    let program = pretend(&env, "exit 0");
    let output = ask(&env, &program, &[]).expect(1);
    assert!(output.stderr.contains(text(&program)), "{}", output.stderr);
    assert!(output.stderr.contains("it printed nothing"), "{}", output.stderr);
}
