//! The one place that writes to the terminal: results to standard output, progress and notes to standard error.

use std::{
    io::{self, IsTerminal, Write},
    sync::Mutex,
    time::Duration,
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use percept::data;

/// Writes a result, with a line's end.
pub fn result(text: impl AsRef<str>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    if !text.as_ref().ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Writes one JSON value.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    result(serde_json::to_string_pretty(value)?)
}

/// Whether whoever read standard output is gone, as in `percept models | head -1`.
pub fn reader_left(error: &anyhow::Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
}

/// Writes what went wrong, why, and what to do next.
pub fn error(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    let hint = error.chain().find_map(|cause| cause.downcast_ref::<percept::Error>()?.hint());
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

/// Notes and progress on standard error: bars on a terminal, plain lines elsewhere.
pub struct Progress {
    /// Whether standard output is to hold one JSON value and nothing else.
    json: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress {
    pub fn new(json: bool) -> Self {
        Self { json, bar: Mutex::new(None) }
    }

    /// A sentence that a user should see.
    pub fn note(&self, text: &str) {
        self.line(&format!("note: {text}"));
    }

    /// A line of progress.
    pub fn line(&self, text: &str) {
        self.pausing(|| eprintln!("{text}"));
    }

    /// A line of the result while the work goes on.
    pub fn result(&self, text: &str) {
        if !self.json {
            // Whoever left is noticed at the end.
            self.pausing(|| _ = result(text));
        }
    }

    fn pausing(&self, write: impl FnOnce()) {
        match self.bar.lock().ok().as_ref().and_then(|bar| bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows a bar of `total` units under `label`, or moves the one that is there.
    pub fn bar(&self, label: &str, done: u64, total: Option<u64>, bytes: bool) {
        if !io::stderr().is_terminal() {
            return;
        }
        let Ok(mut place) = self.bar.lock() else { return };
        let bar = place.get_or_insert_with(|| new_bar(total, bytes));
        bar.set_message(label.to_string());
        bar.set_length(total.unwrap_or(done));
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = self.bar.lock().ok().and_then(|mut place| place.take()) {
            bar.finish_and_clear();
        }
    }

    /// What the library reports of work on data.
    pub fn data(&self, event: data::Event) {
        match event {
            data::Event::Note(text) => self.note(&text),
            data::Event::Download { file, done, total } => {
                self.bar(&format!("downloading {file}"), done, total, true);
                if total == Some(done) {
                    self.clear();
                    self.line(&format!("downloaded {file}"));
                }
            }
            data::Event::Decode { done, total } => {
                self.bar("decoding", done, total, false);
                if total == Some(done) {
                    self.clear();
                    self.line(&format!("decoded {done} images"));
                }
            }
        }
    }
}

fn new_bar(total: Option<u64>, bytes: bool) -> ProgressBar {
    let template = match (total, bytes) {
        (Some(_), true) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
        (None, true) => "{msg} {spinner} {bytes} {bytes_per_sec}",
        _ => "{msg} {wide_bar} {pos}/{len} {per_sec}, {eta} left",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
