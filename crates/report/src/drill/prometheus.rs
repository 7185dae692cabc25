//! x
use super::Page;
pub(super) fn write(_page: &Page) -> String {
    String::new()
}
