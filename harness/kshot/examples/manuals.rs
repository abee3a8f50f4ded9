//! Writes kshot's man pages and shell completions: `cargo run --example manuals -- FOLDER`.
//!
//! An example and no command, because only who packages kshot needs it and the crates for it.

use std::path::PathBuf;
use std::{env, fs, io};

use clap::ValueEnum;
use clap_complete::Shell;

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| "target/manuals".into()));
    let mut command = kshot::commands::command_line();
    fs::create_dir_all(folder.join("man1"))?;
    clap_mangen::generate_to(command.clone(), folder.join("man1"))?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, "kshot", &folder)?;
    }
    Ok(())
}
