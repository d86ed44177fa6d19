//! `service`: keys of the shop's own services.

use access::NewService;

use crate::cli::ServiceCommand;
use crate::house::House;
use crate::out;

/// Runs a `service` command.
pub(crate) async fn run(house: &House, command: ServiceCommand) -> anyhow::Result<()> {
    let ctx = house.operator_ctx();
    match command {
        ServiceCommand::Add { name, scope } => {
            let added = house.access.add_service(&ctx, &NewService { name, scopes: scope }).await?;
            out::say(format!("{} {}", added.id, added.key.expose()));
            out::say("The key is shown once; send it as Authorization: Bearer.");
            out::json(&serde_json::json!({ "id": added.id, "key": added.key.expose() }));
        }
        ServiceCommand::List => {
            let services = house.access.services(None, 200).await?;
            let rows: Vec<Vec<String>> = services
                .iter()
                .map(|service| {
                    vec![
                        service.id.to_string(),
                        service.name.clone(),
                        service.scopes.join(" "),
                        service.created_at.to_string(),
                        service.revoked_at.map(|at| at.to_string()).unwrap_or_default(),
                    ]
                })
                .collect();
            out::json(&serde_json::json!({ "services": rows }));
            out::table(&["id", "name", "scopes", "made", "revoked"], &rows);
        }
        ServiceCommand::Revoke { id } => {
            house.access.revoke_service(&ctx, id.parse()?).await?;
            out::say("Revoked, at once.");
        }
    }
    house.close().await
}
