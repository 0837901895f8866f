//! Which language a reader is spoken to in: the one that was switched to, or else the browser's. Knows no words.

use axum::http::{HeaderMap, HeaderValue, header};

/// A language that the page speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese in simplified characters.
    Chinese,
}

/// The cookie that remembers a switch. It says nothing of the reader but this.
const COOKIE: &str = "language";
/// A year.
const SECONDS: u32 = 31_536_000;

impl Language {
    /// The language that a request asks for.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::remembered(headers).unwrap_or_else(|| Self::preferred(headers))
    }

    /// The language of a tag, such as `zh-CN`.
    pub fn from_tag(tag: &str) -> Option<Self> {
        match tag.split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "zh" => Some(Self::Chinese),
            _ => None,
        }
    }

    /// As addresses and the cookie name it.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// What to switch to.
    pub fn other(self) -> Self {
        match self {
            Self::English => Self::Chinese,
            Self::Chinese => Self::English,
        }
    }

    /// The cookie that remembers it.
    pub fn cookie(self) -> HeaderValue {
        let text = format!("{COOKIE}={}; Path=/; Max-Age={SECONDS}; SameSite=Lax", self.code());
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn remembered(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|all| all.split(';')).find_map(|pair| match pair.trim().split_once('=')? {
            (COOKIE, value) => Self::from_tag(value),
            _ => None,
        })
    }

    /// The best of `Accept-Language` (RFC 9110, 12.5.4); of equals the first; English where it names neither.
    fn preferred(headers: &HeaderMap) -> Self {
        let text = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best = (Self::English, 0.0);
        for range in text.split(',') {
            let (tag, rest) = range.trim().split_once(';').unwrap_or((range.trim(), ""));
            let weight = rest.trim().strip_prefix("q=").map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
            if let Some(language) = Self::from_tag(tag)
                && weight > best.1
            {
                best = (language, weight);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(accepted: &str, cookie: &str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_str(accepted).unwrap());
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        Language::of(&headers)
    }

    #[test]
    fn the_browser_is_followed_until_the_reader_switches() {
        use Language::{Chinese, English};
        for (accepted, cookie, expected) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", "", Chinese),
            ("en-GB,en;q=0.9,zh;q=0.8", "", English),
            ("de,zh-TW;q=0.7,en;q=0.2", "", Chinese),
            ("de, fr;q=0.5", "", English),
            ("zh;q=0, en;q=0.1", "", English),
            ("zh;q=x,,;", "", English),
            ("", "", English),
            ("zh-CN", "theme=dark; language=en", English),
            ("en", "language=zh", Chinese),
            ("zh", "language=tlh; other", Chinese),
        ] {
            assert_eq!(spoken(accepted, cookie), expected, "{accepted:?} {cookie:?}");
        }
    }
}
