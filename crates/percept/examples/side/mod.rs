//! What Percept's sides of a benchmark share, as `bench/side.py` is for those in Python: the command line, and how turns are
//! taken.

use std::{
    io::{self, BufRead},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// What was typed.
pub struct Arguments {
    pub all: Vec<String>,
}

impl Arguments {
    pub fn new() -> Self {
        Self { all: std::env::args().skip(1).collect() }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let place = self.all.iter().position(|argument| argument == name)?;
        self.all.get(place + 1).map(String::as_str)
    }

    pub fn number(&self, name: &str, usual: usize) -> usize {
        self.text(name).map_or(usual, |text| text.parse().expect("a number after the flag"))
    }
}

/// Prints `ready` and takes a turn of `--milliseconds`, or with `--ask` one for every line of standard input. A step is of
/// `batch` images; it gets its number.
pub fn take_turns(arguments: &Arguments, ready: &Value, batch: usize, step: &mut dyn FnMut(u64)) -> io::Result<()> {
    println!("{ready}");
    let time = Duration::from_millis(arguments.number("--milliseconds", 2000) as u64);
    if !arguments.all.iter().any(|argument| argument == "--ask") {
        println!("{}", take_turn(step, time, batch));
        return Ok(());
    }
    for line in io::stdin().lock().lines() {
        line?;
        println!("{}", take_turn(step, time, batch));
    }
    Ok(())
}

/// Steps until the time is over, at least one.
fn take_turn(step: &mut dyn FnMut(u64), time: Duration, batch: usize) -> Value {
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || begin.elapsed() < time {
        let before = Instant::now();
        step(times.len() as u64);
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let part = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let rate = (batch as f64 * 1e4 / mean).round() / 10.0;
    json!({ "images_per_second": rate, "mean": mean, "median": part(0.5), "p90": part(0.9), "steps": times.len() })
}
