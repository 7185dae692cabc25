//! Where Dovecot keeps a folder's control files (`dovecot-uidlist`, `dovecot-keywords`) when they are not
//! in the folder: `CONTROL=` of 2.3, `mail_control_path` of 2.4. As Dovecot 2.3.19 does it.

use std::path::{Path, PathBuf};

use crate::nofollow;

/// How folders lie in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `.A.B` in the mailbox.
    #[default]
    MaildirPlusPlus,
    /// `A/B` in the mailbox.
    Fs,
}

impl Layout {
    /// The layout that a control folder of a mailbox shows by the name it has for INBOX.
    pub fn of_control(control: &Path) -> Self {
        let has = |name: &str| nofollow::is_dir(&control.join(name));
        if has("INBOX") && !has(".INBOX") { Self::Fs } else { Self::MaildirPlusPlus }
    }
}

/// Where the control files of `folder`, a path inside the mailbox, lie below `control`. Those of the whole
/// mailbox (`subscriptions`, `dovecot-uidvalidity`) lie in `control` itself.
pub fn control_dir(control: &Path, folder: &Path, layout: Layout) -> PathBuf {
    let is_inbox = folder.as_os_str().is_empty() || folder == Path::new(".INBOX");
    match layout {
        Layout::MaildirPlusPlus if is_inbox => control.join(".INBOX"),
        Layout::Fs if is_inbox => control.join("INBOX"),
        _ => control.join(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from what Dovecot 2.3.19 wrote with `CONTROL=/c`.
    #[test]
    fn control_files_lie_where_dovecot_puts_them() {
        let table = [
            ("", Layout::MaildirPlusPlus, "/c/.INBOX"),
            (".Sent", Layout::MaildirPlusPlus, "/c/.Sent"),
            (".Archive.2026", Layout::MaildirPlusPlus, "/c/.Archive.2026"),
            ("", Layout::Fs, "/c/INBOX"),
            (".INBOX", Layout::Fs, "/c/INBOX"),
            ("INBOX", Layout::Fs, "/c/INBOX"),
            ("Archive/2025", Layout::Fs, "/c/Archive/2025"),
        ];
        for (folder, layout, expected) in table {
            let dir = control_dir(Path::new("/c"), Path::new(folder), layout);
            assert_eq!(dir, Path::new(expected), "{folder} {layout:?}");
        }
    }

    #[test]
    fn the_layout_shows_in_the_name_of_inbox() {
        let control = tempfile::tempdir().unwrap();
        assert_eq!(Layout::of_control(control.path()), Layout::MaildirPlusPlus);
        std::fs::create_dir(control.path().join("INBOX")).unwrap();
        assert_eq!(Layout::of_control(control.path()), Layout::Fs);
        std::fs::create_dir(control.path().join(".INBOX")).unwrap();
        assert_eq!(Layout::of_control(control.path()), Layout::MaildirPlusPlus);
    }
}
