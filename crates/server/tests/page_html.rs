//! The page without a browser: languages, the lock, the plain form.

mod common;

use axum::{
    body::Body,
    http::{Request, header},
};
use common::{Answer, ask, get, png, server, with};
use percept_server::Access;

const FORM: &str = "multipart/form-data; boundary=b";

async fn visit(path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(&server(), request.body(Body::empty()).expect("a request")).await
}

/// A form as browsers send it: a token and files.
fn form(token: Option<&str>, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(token) = token {
        body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{token}\r\n").bytes());
    }
    for (name, bytes) in files {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--b--\r\n");
    body
}

#[tokio::test]
async fn the_page_brings_nothing_that_its_policy_forbids() {
    for path in ["/", "/?model=digits", "/models/digits/page"] {
        let page = visit(path, &[]).await;
        assert_eq!(page.status, 200, "{path}");
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        let html = page.text();
        assert!(!html.contains(" style=") && !html.contains("<style") && !html.contains(" onclick"), "{path}");
        assert_eq!(html.matches("<script").count(), 1, "{path}");
        let elsewhere = html.matches("http://").count() + html.matches("https://").count();
        assert_eq!(elsewhere, 0, "{path} leads elsewhere");
    }
    for (file, kind) in [("style.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")] {
        let asset = visit(&format!("/assets/{file}"), &[]).await;
        assert!(asset.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(kind), "{file}");
        let tag = asset.headers[header::ETAG].to_str().unwrap().to_string();
        assert_eq!(visit(&format!("/assets/{file}"), &[("if-none-match", &tag)]).await.status, 304);
    }
    for path in [
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/none.js",
        "/models/none/page",
        "/?model=none",
    ] {
        assert_eq!(visit(path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_reader_is_spoken_to_in_her_language() {
    let chinese = visit("/", &[("accept-language", "zh-CN,zh;q=0.9,en;q=0.5")]).await.text();
    assert!(chinese.contains("<html lang=\"zh-CN\">") && chinese.contains("图片里是什么？"), "{chinese}");
    let switched = visit("/?model=digits&language=en", &[("accept-language", "zh-CN")]).await;
    assert_eq!(
        (switched.status.as_u16(), &switched.headers[header::LOCATION]),
        (303, &"/?model=digits".parse().unwrap())
    );
    let cookie = switched.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_string();
    let english = visit("/", &[("accept-language", "zh-CN"), ("cookie", &cookie)]).await.text();
    assert!(english.contains("What does the picture show?"));
    let about = visit("/models/digits/page?language=zh", &[]).await;
    assert_eq!(about.headers[header::LOCATION], "/models/digits/page");
    let odd = visit("/?model=%0d%0aset-cookie:x&language=zh", &[]).await;
    assert_eq!(odd.headers[header::LOCATION], "/?model=%0D%0Aset-cookie%3Ax");
}

#[tokio::test]
async fn a_locked_page_tells_nothing_of_its_models() {
    let server = with(|config| config.access = Access::Token("s3cret".into()));
    for path in ["/", "/models/digits/page", "/models/none/page", "/?model=none"] {
        let page = get(&server, path).await;
        assert_eq!(page.status, 401, "{path}");
        let html = page.text();
        assert!(html.contains("name=\"token\"") && !html.contains("data-model"), "{path}");
        assert_eq!(html.contains("digits"), path.contains("digits"), "{path}");
    }
    let right = Request::get("/").header("authorization", "Bearer s3cret").body(Body::empty()).unwrap();
    assert!(ask(&server, right).await.text().contains("data-model=\"digits\""));
    for (token, status) in [(None, 401), (Some("guess"), 401), (Some("\u{1}"), 401), (Some("s3cret"), 200)] {
        let answer = common::post(&server, "/", FORM, form(token, &[("a.png", &png(8, 0))])).await;
        assert_eq!(answer.status, status, "{token:?}");
        assert_eq!(answer.text().contains("class=\"bars"), status == 200, "{token:?}");
    }
}

#[tokio::test]
async fn a_form_is_answered_with_the_page() {
    let server = server();
    let files: [(&str, &[u8]); 3] = [("one.png", &png(8, 0)), ("<b>.png", &png(60, 3)), ("two.png", b"no picture")];
    let answer = common::post(&server, "/?model=digits", FORM, form(None, &files)).await;
    assert_eq!(answer.status, 200);
    let html = answer.text();
    assert_eq!(html.matches("class=\"card result\"").count(), 4, "three and the template");
    assert_eq!(html.matches("src=\"data:image/png;base64,").count() - html.matches("width=\"96\"").count(), 2);
    assert!(html.contains("&lt;b&gt;.png") && html.contains("cannot be read"), "{html}");
    let empty = common::post(&server, "/", FORM, form(None, &[("", b"")])).await;
    assert_eq!(empty.status, 200);
    let wrong = common::post(&server, "/", "text/plain", "hello").await;
    assert_eq!(wrong.status, 415);
    assert!(wrong.text().contains("not a picture"));
    let small = with(|config| config.limits.body = 1_000);
    let large = common::post(&small, "/", FORM, form(None, &[("a.png", &[0; 4_000])])).await;
    assert_eq!(large.status, 413);
    assert!(large.text().contains("larger than the server accepts"));
}
