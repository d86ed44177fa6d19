//! The audit page: a check that is told, one against an outside checkpoint, and one that finds what
//! somebody did to the database (C5).

use http::StatusCode;
use identity::StaffRole;

use crate::house::{House, Must as _, ROOMS};

testkit::on_both! { ROOMS;
    async fn a_check_is_told_and_an_altered_row_is_found(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.test").await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let mut auditor = house.operator(&[StaffRole::Auditor]).await;
        house.settle().await;
        let (page, verify) = ("/console/audit", "/console/audit/verify");
        let checkpoint = auditor.get("/console/audit/checkpoint").await.expect(StatusCode::OK);
        let kept = checkpoint.body.clone();
        support.submit(page, verify, &[("kept", "")]).await.must(StatusCode::FORBIDDEN);
        let wrong = auditor.submit(page, verify, &[("kept", "no checkpoint")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(wrong.body.contains("This is no checkpoint"));
        let done = auditor.submit(page, verify, &[("kept", &kept)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER);
        let shown = auditor.get(page).await;
        assert!(shown.body.contains("The log holds.") && shown.body.contains("agrees up to leaf"));
        assert!(shown.body.contains("What is not covered"));
        let told = house.events("console.log_verified").await;
        assert_eq!(told[0].plain["holds"], true);
        // Somebody with the database's password opens an account to themselves.
        let db = world.attacker().await;
        let mut tx = db.begin().await.unwrap();
        let change = "UPDATE identity_account SET roles = 'admin' WHERE kind = 'customer'";
        tx.run(change, Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        auditor.submit(page, verify, &[("kept", "")]).await.must(StatusCode::SEE_OTHER);
        let shown = auditor.get(page).await;
        assert!(shown.body.contains("The log does not hold."));
        assert!(shown.body.contains("a row of identity_account"));
        assert_eq!(house.events("console.log_verified").await[1].plain["holds"], false);
    }

    async fn the_overview_counts_what_happened(world: &testkit::World) {
        let house = House::new(world);
        house.spray("198.51.100.23", 3).await;
        let mut auditor = house.operator(&[StaffRole::Auditor]).await;
        house.settle().await;
        let page = auditor.get("/console").await.expect(StatusCode::OK);
        assert!(page.body.contains("<p class=\"figure\">3</p><p>refused sign-ins"));
        assert!(page.body.contains("<p class=\"figure\">1</p><p>sign-ins"));
        assert_eq!(page.body.matches("<rect").count(), 60);
        assert!(!page.body.contains("style="));
        assert!(page.body.contains("node-1"));
    }
}
