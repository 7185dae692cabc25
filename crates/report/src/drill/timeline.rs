//! x
use super::Page;
pub(super) fn section(_page: &Page) -> String {
    String::new()
}
