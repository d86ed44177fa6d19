//! The page and the API, as a browser and a program see them.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use kernel::AccountId;
use serde_json::{Value, json};
use testkit::{World, on_both};
use web::Callers;
use web::api::Access;
use web::testing::{Client, Nobody, SignedIn, app_with};

use crate::keeping::{ROOMS, open};

fn client(world: &World, callers: impl Callers + 'static) -> Client {
    let all = web::api::assemble("test", "1", [wishes::routes(open(world))]).unwrap();
    let app = app_with(Arc::new(callers), world.clock.clone(), world.entropy.clone());
    Client::new(web::serve_stack(all.router, app))
}

fn browser_of(world: &World, account: AccountId) -> Client {
    client(world, SignedIn::customer(account))
}

on_both! { ROOMS;
    async fn every_operation_asks_for_a_session(world: &World) {
        let all = web::api::assemble("test", "1", [wishes::routes(open(world))]).unwrap();
        assert_eq!(all.operations.len(), 5);
        assert!(all.operations.iter().all(|operation| operation.access == Access::Session));
        let mut nobody = client(world, Nobody);
        let _ = nobody.get_json("/v1/wishes").await.expect(StatusCode::UNAUTHORIZED);
    }

    async fn a_wish_of_the_page_is_shown_there(world: &World) {
        let mut anna = browser_of(world, world.person().await);
        let page = anna.get("/auth/wishes").await.expect(StatusCode::OK);
        assert!(page.body.contains("No wish yet"), "{}", page.body);
        let fields = [("text", "the <blue> lamp")];
        let sent = anna.submit("/auth/wishes", "/auth/wishes", &fields).await;
        let sent = sent.expect(StatusCode::SEE_OTHER);
        let page = anna.follow(&sent).await.expect(StatusCode::OK);
        assert!(page.body.contains("lamp") && !page.body.contains("<blue>"), "{}", page.body);
    }

    async fn a_wrong_wish_comes_back_with_what_was_typed(world: &World) {
        let mut anna = browser_of(world, world.person().await);
        let long = "lamps ".repeat(50);
        let again = anna.submit("/auth/wishes", "/auth/wishes", &[("text", &long)]).await;
        let again = again.expect(StatusCode::UNPROCESSABLE_ENTITY);
        assert!(again.body.contains(&long), "{}", again.body);
        assert!(again.body.contains("1 to 200 bytes are wanted"), "{}", again.body);
    }

    // W1
    async fn a_program_makes_lists_and_drops(world: &World) {
        let (anna, ben) = (world.person().await, world.person().await);
        let (mut anna, mut ben) = (browser_of(world, anna), browser_of(world, ben));
        let wish = json!({ "text": "a lamp" });
        let made = anna.post_json("/v1/wishes", &wish).await.expect(StatusCode::CREATED);
        let path = format!("/v1/wishes/{}", made.json::<Value>()["id"].as_str().unwrap());
        world.advance(Duration::from_secs(60));
        let _ = anna.post_json("/v1/wishes", &wish).await.expect(StatusCode::CREATED);
        let list: Value = anna.get_json("/v1/wishes").await.expect(StatusCode::OK).json();
        let moment = |at: usize| list[at]["made_at"].as_i64().unwrap();
        // after a minute, and in microseconds
        assert_eq!(moment(1) - moment(0), 60_000_000);

        let nothing = json!({});
        let strange = ben.json(Method::DELETE, &path, &nothing).await;
        assert_eq!(strange.expect(StatusCode::NOT_FOUND).code(), "wishes.not_found");
        let dropped = anna.json(Method::DELETE, &path, &nothing).await;
        let _ = dropped.expect(StatusCode::NO_CONTENT);
        let empty = anna.post_json("/v1/wishes", &json!({ "text": " " })).await;
        assert_eq!(empty.code(), "wishes.text");
    }
}
