//! Dovecot's locks, waited for in sight of people: what is waited for is told, and the wait ends when
//! the run is asked to stop.

use std::path::Path;
use std::time::Duration;

use maildir::Dotlock;

use crate::progress::Progress;

/// Takes the lock of `file`. Where somebody asked to stop, the error is an interruption.
pub(crate) fn acquire(
    file: &Path,
    wait: Duration,
    progress: &Progress,
) -> maildir::Result<Dotlock> {
    progress.while_waiting(|tell| {
        let mut go_on = |holder: Option<&str>| {
            let file = file.display();
            tell(match holder {
                Some(holder) => format!("{holder}, who has the lock of {file}"),
                None => format!("the lock of {file}"),
            });
            progress.check().is_ok()
        };
        Dotlock::acquire_while(file, wait, &mut go_on)
    })
}
