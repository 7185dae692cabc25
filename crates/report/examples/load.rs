//! Writes pages of made data into a folder, to look at:
//! `cargo run -p report --example load -- DIR`.

#[path = "../tests/load/made.rs"]
mod made;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(std::path::PathBuf::from) else {
        return Err(std::io::Error::other("name the folder to write the pages to"));
    };
    let pages = [
        ("met", made::met(120)),
        ("hour", made::met(3_600)),
        ("limit", made::limit_found()),
        ("invalid", made::invalid()),
        ("empty", report::load::Page::default()),
    ];
    for (name, page) in pages {
        std::fs::write(folder.join(format!("{name}.html")), report::load::html(&page))?;
    }
    Ok(())
}
