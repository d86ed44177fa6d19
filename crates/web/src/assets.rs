//! Style sheets, scripts and pictures, built into the program. Each is served under an address
//! that holds its hash and never changes, and under its plain name with an ETag.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{App, Path, Problem};

/// An asset as it stands in the source: its name and `include_bytes!` of its file.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name, unique in the house, with a known ending (css, js, svg, png, woff2).
    pub name: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

/// The assets of this crate.
pub const HOUSE: &[Source] = &[
    Source { name: "stagedoor.css", bytes: include_bytes!("../assets/stagedoor.css") },
    Source { name: "logo.svg", bytes: include_bytes!("../assets/logo.svg") },
    Source { name: "live.js", bytes: include_bytes!("../assets/live.js") },
    Source { name: "copy.js", bytes: include_bytes!("../assets/copy.js") },
];

#[derive(Clone, Debug)]
struct Asset {
    bytes: Bytes,
    mime: &'static str,
    hashed: String,
    etag: String,
}

/// The assets that the program serves.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    by_name: BTreeMap<&'static str, Asset>,
    name_of_hashed: BTreeMap<String, &'static str>,
}

impl Assets {
    /// The house's own.
    #[must_use]
    pub fn house() -> Self {
        Self::default().with(HOUSE)
    }

    /// These and a room's. A name that stands already is replaced.
    #[must_use]
    pub fn with(mut self, sources: &[Source]) -> Self {
        for source in sources {
            let hash = digest::digest(&digest::SHA256, source.bytes);
            let hash: String =
                hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let (stem, ending) = source.name.rsplit_once('.').unwrap_or((source.name, ""));
            let hashed = format!("{stem}.{hash}.{ending}");
            self.name_of_hashed.insert(hashed.clone(), source.name);
            let asset = Asset {
                bytes: Bytes::from_static(source.bytes),
                mime: mime_of(ending),
                hashed,
                etag: format!("\"{hash}\""),
            };
            self.by_name.insert(source.name, asset);
        }
        self
    }

    /// The lasting address of an asset. One that does not exist has a plain address, which
    /// answers 404 and is seen in the log.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        match self.by_name.get(name) {
            Some(asset) => format!("/assets/{}", asset.hashed),
            None => {
                tracing::error!(name, "a page names an asset that does not exist");
                format!("/assets/{name}")
            }
        }
    }

    fn find(&self, file: &str) -> Option<(&Asset, bool)> {
        if let Some(name) = self.name_of_hashed.get(file) {
            return self.by_name.get(name).map(|asset| (asset, true));
        }
        self.by_name.get(file).map(|asset| (asset, false))
    }
}

fn mime_of(ending: &str) -> &'static str {
    match ending {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The route of the assets, as each room has its routes.
pub fn routes() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(read_asset))
}

/// A style sheet, script or picture of the pages.
#[utoipa::path(
    get,
    path = "/assets/{file}",
    operation_id = "web.read_asset",
    tag = "web",
    params(("file" = String, Path, description = "The file's name, with its hash or without")),
    responses((status = 200, description = "The file"), (status = 304), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn read_asset(
    app: App,
    Path(file): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let (asset, lasting) = app.assets.find(&file).ok_or_else(Problem::not_found)?;
    let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let fresh = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == asset.etag));
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        asset.bytes.clone().into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.mime));
    let caching = if lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        headers.insert(ETAG, etag);
    }
    Ok(response)
}
