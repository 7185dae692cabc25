//! The demo step by step, with a line on stderr for each and a stop between any two.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use snapshot::progress::Progress;

use crate::ui::{Ui, duration};

/// Numbers the steps, shows them while they run, and tells how they ended.
pub(crate) struct Stage<'u> {
    ui: &'u Ui,
    /// One a step: a signal between two of them must not be lost.
    steps: Vec<Arc<Progress>>,
    next: usize,
}

impl<'u> Stage<'u> {
    /// `count` steps will be taken.
    pub(crate) fn new(ui: &'u Ui, count: usize) -> Self {
        let steps: Vec<Arc<Progress>> = (0..count).map(|_| Arc::default()).collect();
        crate::interrupt::watch_all(steps.clone());
        Self { ui, steps, next: 0 }
    }

    /// A line beside the steps.
    pub(crate) fn say(&self, text: impl Display) {
        self.ui.status(text);
    }

    /// Runs a step; it gives its result and what to tell of it.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        run: impl FnOnce(&Progress) -> Result<(T, String)>,
    ) -> Result<T> {
        let progress = Arc::clone(&self.steps[self.next]);
        self.next += 1;
        progress.check()?;
        let started = Instant::now();
        let display = self.ui.progress(&progress, "mailboxes");
        let done = run(&progress);
        drop(display);
        let (result, told) = done?;
        let (number, count) = (self.next, self.steps.len());
        let elapsed = duration(started.elapsed());
        self.ui.status(format!("{number}/{count}  {name:<20} {elapsed:>7}  {told}"));
        Ok(result)
    }
}
