//! The maker's thread: makes messages before they are due, so that making one never delays a session.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::dispatch::Dispatch;
use crate::letters::Letters;

pub(super) fn spawn(dispatch: Arc<Dispatch>, letters: Arc<Letters>) -> io::Result<JoinHandle<()>> {
    let make = move || while dispatch.make(&letters) {};
    thread::Builder::new().name("load-maker".into()).spawn(make)
}
