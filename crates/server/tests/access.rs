//! Who may call, and from where.

mod common;

use axum::{
    body::Body,
    http::{Request, header},
};
use common::{ask, config, get, png, server, with};
use percept_server::{Access, AppState, TlsFiles};

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = if path == "/predict" { Request::post(path) } else { Request::get(path) };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(if path == "/predict" { png(8, 0).into() } else { Body::empty() }).expect("a request")
}

#[tokio::test]
async fn a_token_guards_everything_but_health() {
    let server = with(|config| config.access = Access::Token("s3cret".into()));
    for path in ["/models", "/metrics", "/predict", "/v2", "/v2/models/digits", "/v2/models/digits/ready"] {
        let answer = ask(&server, request(path, &[])).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.error(), "this server asks for a token");
        for wrong in ["Bearer wrong", "Basic s3cret", "Bearer", "s3cret", "Bearer s3cret2"] {
            assert_eq!(ask(&server, request(path, &[("authorization", wrong)])).await.status, 401, "{path} {wrong}");
        }
        assert_eq!(ask(&server, request(path, &[("authorization", "Bearer s3cret")])).await.status, 200, "{path}");
    }
    for path in ["/v2/health/live", "/v2/health/ready", "/openapi.json"] {
        assert_eq!(get(&server, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn names_and_pages_from_elsewhere_are_refused() {
    let own = server();
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
        assert_eq!(ask(&own, request("/predict", &[("host", host)])).await.status, 200, "{host}");
        let origin = format!("http://{host}");
        assert_eq!(ask(&own, request("/predict", &[("host", host), ("origin", &origin)])).await.status, 200);
    }
    let answer = ask(&own, request("/predict", &[("host", "rebound.example")])).await;
    assert_eq!(answer.status, 403);
    assert!(answer.error().contains("this machine only"), "{}", answer.text());
    for origin in ["https://evil.example", "null", "http://localhost:9999"] {
        let answer = ask(&own, request("/predict", &[("host", "localhost:8080"), ("origin", origin)])).await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    let everybody = with(|config| config.access = Access::Everybody);
    assert_eq!(ask(&everybody, request("/predict", &[("host", "shop.example")])).await.status, 200);
    assert_eq!(
        ask(&everybody, request("/predict", &[("host", "a.example"), ("origin", "https://b.example")])).await.status,
        403
    );
}

#[tokio::test]
async fn an_allowed_origin_may_read_answers() {
    let server = with(|config| config.allowed_origins = vec!["https://shop.example".into()]);
    let headers = [("host", "localhost"), ("origin", "https://shop.example")];
    let answer = ask(&server, request("/predict", &headers)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example");
    let answer = ask(&server, request("/predict", &[("host", "localhost"), ("origin", "https://evil.example")])).await;
    assert_eq!(answer.status, 403);
    assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn over_tls_browsers_are_told_to_keep_to_it() {
    let told = |address: &'static str, tls: bool| async move {
        let server = with(|config| {
            config.address = address.parse().unwrap();
            config.access = Access::Everybody;
            let [certificate, key] = ["chain.pem", "key.pem"].map(std::path::PathBuf::from);
            config.tls = tls.then_some(TlsFiles { certificate, key });
        });
        get(&server, "/v2/health/live").await.headers.contains_key(header::STRICT_TRANSPORT_SECURITY)
    };
    assert!(told("0.0.0.0:8443", true).await && !told("0.0.0.0:8080", false).await);
    assert!(!told("127.0.0.1:8443", true).await, "other ports of this machine are no concern of ours");
}

#[test]
fn beyond_this_machine_somebody_has_to_decide() {
    let mut config = config();
    config.address = "0.0.0.0:8080".parse().unwrap();
    let refused = AppState::new(config).err().unwrap().to_string();
    assert!(refused.contains("--token") && refused.contains("--no-auth"), "{refused}");
}
