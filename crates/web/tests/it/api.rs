//! W6: an operation says what it changes and who may ask, or it is not served.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::api::{self, Access, ApiError, Effect};

#[utoipa::path(get, path = "/v1/good/{id}", operation_id = "test.good",
    params(("id" = String, Path)), responses((status = 200)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn good() {}

#[utoipa::path(post, path = "/v1/silent", operation_id = "test.silent", responses((status = 200)),
    extensions(("x-effect" = json!("none"))))]
async fn silent() {}

#[utoipa::path(post, path = "/v1/odd", operation_id = "test.odd", responses((status = 200)),
    extensions(("x-effect" = json!("some")), ("x-access" = json!("public"))))]
async fn odd() {}

#[utoipa::path(post, path = "/v1/again", operation_id = "test.good", responses((status = 200)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("service:facts"))))]
async fn again() {}

fn room() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(good))
}

#[test]
fn the_table_of_operations_is_read() {
    let all = api::assemble("Stagedoor", "0.1.0", [room(), web::assets::routes()]).unwrap();
    let table: Vec<String> = all
        .operations
        .iter()
        .map(|o| format!("{} {} {} {} {}", o.method, o.path, o.id, o.effect, o.access))
        .collect();
    assert_eq!(
        table,
        [
            "GET /assets/{file} web.read_asset none public",
            "GET /v1/good/{id} test.good fact operator:admin",
        ]
    );
    assert_eq!(all.operations[1].effect, Effect::Fact);
    insta::assert_snapshot!(api::text(&all.document));
}

#[test]
fn an_operation_that_does_not_say_is_not_served() {
    let with = |room: OpenApiRouter| api::assemble("x", "1", [room]).err().unwrap();
    let error = with(room().routes(routes!(silent)));
    assert_eq!(error.to_string(), "POST /v1/silent lacks x-access");
    let error = with(room().routes(routes!(odd)));
    assert_eq!(
        error.to_string(),
        "POST /v1/odd: x-effect is `some`, which is none of fact, upkeep, none"
    );
    let error = with(room().routes(routes!(again)));
    assert_eq!(error, ApiError::Twice("test.good".to_owned()));
}

#[test]
fn access_has_a_grammar() {
    let fine = ["public", "session", "operator:admin", "service:facts.write"];
    for word in fine {
        assert_eq!(word.parse::<Access>().unwrap().to_string(), word);
    }
    for word in ["", "Public", "operator", "operator:", "operator:a b", "service:a:b", "all:x"] {
        assert!(word.parse::<Access>().is_err(), "{word}");
    }
}
