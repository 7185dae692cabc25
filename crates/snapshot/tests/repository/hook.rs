//! Does something at the moment when a backup has listed a folder and has read none of it: the
//! library tells each listing in a debug event, and this listens.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Action = Box<dyn FnMut(&str) + Send>;

/// Calls `action` with the path inside `store` of each folder below it that was just listed.
pub(crate) fn on_listed(store: &Path, action: impl FnMut(&str) + Send + 'static) {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
    HOOKS.lock().unwrap().push((store.to_owned(), Box::new(action)));
}

static HOOKS: Mutex<Vec<(PathBuf, Action)>> = Mutex::new(Vec::new());

struct Listener;

struct Listed(Option<String>);

impl Visit for Listed {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "folder" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("snapshot::backup::")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut listed = Listed(None);
        event.record(&mut listed);
        let Some(folder) = listed.0 else { return };
        for (store, action) in &mut *HOOKS.lock().unwrap() {
            if let Ok(inside) = Path::new(&folder).strip_prefix(&*store) {
                action(&inside.to_string_lossy());
            }
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
