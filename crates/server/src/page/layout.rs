//! What every page has around its content: head, header, footer. One design for phone and desk, by day and by night.

use maud::{DOCTYPE, Markup, html};

use super::{language::Language, words::words};

/// What a page says of itself.
pub struct Page<'p> {
    /// In the browser's tab, before the program's name.
    pub title: &'p str,
    /// Its language.
    pub language: Language,
    /// The address of the same page, to which `&language=` can be added.
    pub address: String,
    /// The model that is shown, to go to its two pages.
    pub model: Option<&'p str>,
    /// Which of the two this is.
    pub place: Place,
    /// Its content, inside of `main`.
    pub content: Markup,
}

/// Where a page is in the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that recognises.
    Start,
    /// The one that tells of the model.
    About,
    /// Neither: an error, or the question for a token.
    Nowhere,
}

/// The address of the page that recognises with a model.
pub fn start_address(model: &str) -> String {
    format!("/?model={}", encoded(model))
}

/// The address of the page that tells of a model.
pub fn about_address(model: &str) -> String {
    format!("/models/{}/page", encoded(model))
}

/// A text as a part of an address (RFC 3986): what is not unreserved is written as its bytes.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The whole document.
pub fn document(page: Page) -> Markup {
    let Page { title, language, address, model, place, content } = page;
    let words = words(language);
    let other = language.other();
    let sign = if address.contains('?') { '&' } else { '?' };
    let link = |address: String, name: &str, own: Place| {
        let here = (place == own).then_some("page");
        html! { a href=(address) aria-current=[here] { (name) } }
    };
    html! {
        (DOCTYPE)
        html lang=(words.tag) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Percept" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/style.css";
                script type="module" src="/assets/page.js" {}
            }
            body {
                a.skip href="#content" { (words.skip) }
                header {
                    a.mark href="/" { img src="/assets/icon.svg" alt="" width="26" height="26"; span { "Percept" } }
                    nav {
                        @if let Some(model) = model {
                            (link(start_address(model), words.recognise, Place::Start))
                            (link(about_address(model), words.about, Place::About))
                        }
                        a.language href=(format!("{address}{sign}language={}", other.code())) rel="nofollow"
                            lang=(super::words::words(other).tag) hreflang=(super::words::words(other).tag) { (words.other) }
                    }
                }
                main id="content" tabindex="-1" { (content) }
                footer { p { "Percept " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}

/// A share as a reader reads it: number and sign do not part at a line's end.
pub fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// Digits in groups of three.
pub fn thousands(number: u64) -> String {
    percept::model::draw::thousands(number)
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_become_parts_of_addresses() {
        assert_eq!(encoded("ants-bees_1.0"), "ants-bees_1.0");
        assert_eq!(encoded("a b/../&?#é"), "a%20b%2F..%2F%26%3F%23%C3%A9");
    }
}
