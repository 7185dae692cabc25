//! Results as pages: plain data in, one self-contained HTML page with inline SVG out. It knows none
//! of the other crates, reads no file and needs no script.

pub mod drill;
mod html;
mod human;
pub mod load;
mod plot;
