//! Who asks: pages lead to the sign-in and back, documents say 401, roles are what they say.

use http::StatusCode;
use serde_json::json;

use crate::shop::{client, client_as};

#[tokio::test]
async fn a_page_leads_to_the_sign_in_and_back() {
    let page = client().get("/mine?tab=2").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(page.location(), "/auth/sign-in?next=%2Fmine%3Ftab%3D2");
    let page = client().get("/admin").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(page.location(), "/console/sign-in?next=%2Fadmin");
    let document = client().get_json("/mine").await.expect(StatusCode::UNAUTHORIZED);
    assert_eq!(document.header("www-authenticate"), "Bearer realm=\"stagedoor\"");
    assert_eq!(document.code(), "web.unauthenticated");
}

// W4
#[tokio::test]
async fn a_path_that_leaves_is_not_carried_along() {
    let page = client().get("/mine?next=\\\\evil.example").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(page.location(), "/auth/sign-in");
}

#[tokio::test]
async fn roles_are_what_they_say() {
    let table: &[(&str, [u16; 5])] = &[
        // mine, admin, support, audit, staff
        ("nobody", [401, 401, 401, 401, 401]),
        ("customer", [200, 403, 403, 403, 403]),
        ("support", [200, 403, 200, 403, 200]),
        ("admin", [200, 200, 200, 200, 200]),
        ("bare-staff", [200, 403, 403, 403, 403]),
    ];
    for (who, statuses) in table {
        let paths = ["/mine", "/admin", "/support", "/audit", "/staff"];
        for (path, status) in paths.iter().zip(statuses) {
            let answer = client_as(who).get_json(path).await;
            assert_eq!(answer.status.as_u16(), *status, "{who} {path}");
        }
    }
    assert_eq!(client_as("admin").get_json("/admin").await.body, "operator");
    assert_eq!(client_as("admin").get_json("/mine").await.body, "account");
    assert_eq!(client().get_json("/maybe").await.body, "false");
    assert_eq!(client_as("customer").get_json("/maybe").await.body, "true");
}

#[tokio::test]
async fn a_service_shows_its_key() {
    let mut service = client();
    for wrong in [None, Some("other"), Some(""), Some("facts-key facts-key")] {
        service.bearer = wrong.map(str::to_owned);
        let answer = service.post_json("/v1/facts", &json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert_eq!(answer.code(), "web.service_key");
    }
    service.bearer = Some("facts-key".to_owned());
    let answer = service.post_json("/v1/facts", &json!({})).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(answer.code(), "web.scope");
}
