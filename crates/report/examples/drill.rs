//! Writes the record of a made drill into a folder, in all its forms, to look at:
//! `cargo run -p report --example drill -- DIR`.

#[path = "../tests/drill/made.rs"]
mod made;

use report::drill::{Page, html, junit, markdown, prometheus};

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(std::path::PathBuf::from) else {
        return Err(std::io::Error::other("name the folder to write the pages to"));
    };
    for (name, page) in
        [("drill", made::failed(90)), ("long", made::failed(9_000)), ("empty", Page::default())]
    {
        std::fs::write(folder.join(format!("{name}.html")), html(&page))?;
        std::fs::write(folder.join(format!("{name}.md")), markdown(&page))?;
        std::fs::write(folder.join(format!("{name}.xml")), junit(&page))?;
        std::fs::write(folder.join(format!("{name}.prom")), prometheus(&page))?;
    }
    Ok(())
}
