//! A real Dovecot that keeps its files in other ways than most: control and index files apart from the
//! mail, so that a restore of the mail alone would bring no UID back; folders inside each other.

use std::fs;

use crate::delivered::make_vmail;
use crate::doveconf::pretend;
use crate::dovecot_restore::{Office, USER, differences, folders, loses_nothing};
use crate::env::{Env, text};

/// Where the files of each mailbox are.
struct Places {
    control: String,
    index: String,
}

impl Places {
    fn of(env: &Env) -> Self {
        let below = |root: &str| format!("{}/%d/%n", env.path(root).display());
        Self { control: below("control"), index: below("index") }
    }

    fn options(&self) -> [&str; 4] {
        ["--control", &self.control, "--index", &self.index]
    }
}

/// The runner leaves these out where Dovecot is not there.
mod needs_dovecot {
    use super::*;

    fn open(layout: &str) -> Option<Office> {
        let office = Office::open_with(|env| {
            let Places { control, index } = Places::of(env);
            format!("{layout}:CONTROL={control}:INDEX={index}")
        })?;
        let inbox = office.env.path("control/example.org/alice");
        let is_apart = fs::read_dir(inbox).unwrap().count() > 2;
        assert!(is_apart, "the server does not keep its files apart");
        Some(office)
    }

    fn restore(office: &Office) {
        let (to, places) = (office.env.path("vmail"), Places::of(&office.env));
        let report = office.restore(&[&["--to", text(&to)][..], &places.options()].concat());
        assert_eq!(report.expect(0).json()["notes"].to_string().matches("outside").count(), 0);
    }

    fn restore_in_place(office: &Office) {
        for root in ["vmail", "control", "index"] {
            make_vmail(&office.env.path(root));
        }
        office.restore_in_place(&Places::of(&office.env).options()).expect(0);
    }

    #[test]
    fn control_files_that_an_option_names_come_back_to_their_place() {
        let Some(office) = open("") else { return };
        let back_up = |office: &Office| office.back_up_with(&Places::of(&office.env).options());
        loses_nothing(office, back_up, restore);
    }

    #[test]
    fn control_files_that_doveconf_names_come_back_into_empty_folders() {
        let Some(office) = open(":LAYOUT=fs") else { return };
        nest(&office);
        let back_up = |office: &Office| {
            let configuration = office.dovecot.configuration();
            let script = format!("exec /usr/bin/doveconf -c {} \"$@\"", configuration.display());
            let program = pretend(&office.env, &script);
            office.back_up_with(&["--from-doveconf", "--doveconf", text(&program)]);
        };
        loses_nothing(office, back_up, restore_in_place);
    }

    /// The twin: where the options are forgotten at the restore, the server gives new UIDs.
    #[test]
    fn control_files_that_stay_beside_the_mail_are_missed() {
        let Some(office) = open("") else { return };
        let served = office.dovecot.dump(USER);
        office.back_up_with(&Places::of(&office.env).options());
        let office = office.lose_all(|office| {
            ["control", "index"].iter().for_each(|root| make_vmail(&office.env.path(root)));
            let report = office.restore(&["--to", text(&office.env.path("vmail"))]).expect(0);
            let notes = report.json()["notes"].to_string();
            assert!(notes.contains("with --control they go to their place"), "{notes}");
        });
        let after = office.dovecot.dump(USER);
        assert_ne!(differences(&served, &after), [""; 0]);
        assert_eq!(after["subscribed"], serde_json::json!([]));
        assert!(folders(&after).keys().eq(folders(&served).keys()));
    }

    /// A folder inside another one.
    fn nest(office: &Office) {
        let acts = ["CREATE Work/2026", "SELECT INBOX", "COPY 1:3 Work/2026"];
        office.dovecot.command(USER, &acts);
    }

    fn comes_back_nested(layout: &str, inside: &str) {
        let Some(office) = Office::open_with(|_| layout.to_owned()) else { return };
        nest(&office);
        let folder = office.env.path("vmail/example.org/alice/Maildir").join(inside);
        assert!(folder.join("dovecot-uidlist").exists(), "nothing is shown");
        let restore = |office: &Office| {
            let to = office.env.path("vmail");
            let report = office.restore(&["--to", text(&to)]).expect(0).json();
            assert_eq!(report["mailboxes"].as_array().unwrap().len(), 1, "{report}");
        };
        loses_nothing(office, |office| office.back_up_with(&[]), restore);
    }

    #[test]
    fn folders_inside_each_other_come_back() {
        comes_back_nested(":LAYOUT=fs", "Work/2026");
    }

    #[test]
    fn folders_with_their_mail_one_level_deeper_come_back() {
        comes_back_nested(":LAYOUT=fs:DIRNAME=maildir", "Work/2026/maildir");
    }
}
