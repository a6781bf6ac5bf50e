//! How far a replay is, on a terminal.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing where that is no terminal. It is gone when dropped.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar for these files, by their bytes; without an end where a file has no size, such as standard input.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let size = |path: &PathBuf| {
            let found = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
            (path.as_os_str() != "-").then_some(found.len())
        };
        let sizes: Option<u64> = files.iter().map(size).sum();
        let (bar, template) = match sizes {
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{wide_bar} {percent}%  {bytes_per_sec}, {eta} left",
            ),
            None => (ProgressBar::no_length(), "{spinner} {bytes} read, {bytes_per_sec}"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many bytes were read.
    pub(super) fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
