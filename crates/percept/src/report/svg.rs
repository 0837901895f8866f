//! Drawings as SVG text, inside a page or as files of their own. Knows shapes and words, no figures.
//!
//! Colours are those of the page: `currentColor` for ink, two hues that the colour-blind tell apart and that stand out
//! on white as well as on black.

use std::fmt::{Display, Write};

pub(super) const BLUE: &str = "#2b83c4";
pub(super) const ORANGE: &str = "#d9641e";

/// Width at which a drawing is shown as it is on a phone: its text stays readable there.
pub(super) const PHONE: f64 = 340.0;

/// Ink and paper of a drawing that stands alone, by day and by night.
const ALONE: &str = "<style>svg{color-scheme:light dark;color:#1d2939;background:#fff}\
                     @media (prefers-color-scheme:dark){svg{color:#eaecf0;background:#181d23}}</style>";

/// Where a text's given place is in it.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing under way.
pub(super) struct Drawing {
    title: String,
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// An empty drawing. The title is read aloud where it cannot be seen.
    pub fn new(title: impl Into<String>, width: f64, height: f64) -> Self {
        Self { title: title.into(), width, height, body: String::new() }
    }

    /// As part of a page, whose colours it takes.
    pub fn inline(&self) -> String {
        self.with("")
    }

    /// As a file of its own.
    pub fn file(&self) -> String {
        self.with(ALONE)
    }

    fn with(&self, style: &str) -> String {
        let Self { title, width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" role=\"img\"><title>{}</title>{style}\n{body}</svg>\n",
            escape(title)
        )
    }

    /// One element, written as it is.
    pub fn add(&mut self, element: impl Display) {
        _ = writeln!(self.body, "{element}");
    }

    /// A text in the page's ink.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, text: &str) {
        self.ink(x, y, anchor, size, "currentColor", text);
    }

    /// A text in a colour.
    pub fn ink(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, colour: &str, text: &str) {
        let anchor = anchor.name();
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\">{}</text>",
            escape(text)
        ));
    }

    /// A text that reads upwards from a place, or is centred there.
    pub fn upwards(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, text: &str) {
        let anchor = anchor.name();
        self.add(format_args!(
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
             fill=\"currentColor\">{}</text>",
            escape(text)
        ));
    }

    /// A rectangle that says what it is when pointed at.
    pub fn rectangle(&mut self, [x, y, width, height]: [f64; 4], paint: &str, says: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {paint}><title>{}</title></rect>",
            escape(says)
        ));
    }

    /// A dot that says what it is when pointed at.
    pub fn dot(&mut self, x: f64, y: f64, radius: f64, colour: &str, says: &str) {
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\"><title>{}</title></circle>",
            escape(says)
        ));
    }

    /// A line through points; nothing where there are none.
    pub fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if !places.is_empty() {
            self.add(format_args!(
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
                places.join("L")
            ));
        }
    }

    /// A thin grey line, given as a path.
    pub fn rule(&mut self, path: impl Display) {
        self.add(format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.18\"/>"));
    }

    /// Coloured names in a row, from a place rightwards.
    pub fn legend(&mut self, mut x: f64, y: f64, names: &[(&str, &str)]) {
        for (name, colour) in names {
            self.add(format_args!("<path d=\"M{x:.1} {:.1}h14\" stroke=\"{colour}\" stroke-width=\"3\"/>", y - 4.0));
            self.text(x + 19.0, y, Anchor::Start, 12.0, name);
            x += 19.0 + text_width(name, 12.0) + 16.0;
        }
    }
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// About how wide a text is. No font is at hand: the guess is on the wide side.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    size * text.chars().map(char_width).sum::<f64>()
}

fn char_width(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | '\'' | '|' | ' ' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 0.98,
        'A'..='Z' | '&' => 0.72,
        // From Hangul on: Chinese, Japanese, Korean, emoji.
        '\u{1100}'.. => 1.05,
        _ => 0.61,
    }
}

/// A text that fits a width: where it does not, its middle is left out, since names often differ at their ends.
pub(super) fn fit_text(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.into();
    }
    let letters: Vec<char> = text.chars().collect();
    let (mut head, mut tail) = (0, 0);
    let mut left = width / size - char_width('…');
    while head + tail < letters.len() {
        let next = if head <= tail { letters[head] } else { letters[letters.len() - 1 - tail] };
        left -= char_width(next);
        if left < 0.0 {
            break;
        }
        if head <= tail { head += 1 } else { tail += 1 }
    }
    letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
}

/// A text as it has to stand between tags and in quotes. Control characters, which XML forbids, become signs for them.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\0'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_holds_cannot_break_out() {
        assert_eq!(escape("a<b>&\"c\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\u{fffd}");
    }

    #[test]
    fn long_names_keep_their_ends() {
        assert_eq!(fit_text("cat", 10.0, 100.0), "cat");
        let short = fit_text("n02085620-Chihuahua-long-haired-small", 10.0, 80.0);
        assert!(short.starts_with("n02") && short.ends_with("all") && short.contains('…'), "{short}");
        assert!(text_width(&short, 10.0) <= 80.0);
        let chinese = fit_text("可回收垃圾之塑料瓶与易拉罐以及其他", 10.0, 60.0);
        assert!(text_width(&chinese, 10.0) <= 60.0 && chinese.chars().count() > 3, "{chinese}");
        assert_eq!(fit_text("anything", 10.0, 0.0), "…");
    }
}
