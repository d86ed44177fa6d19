//! The demo's own shop: a small live-shopping site that stands behind the door, as any shop would.
//!
//! It trusts nobody but the signed identity headers, keeps its orders in memory, and tells the
//! house what happens in it (`order.paid`) by the facts API, as a real shop's backend does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Who is at the shop's door, as the signed headers say.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Visitor {
    /// `usr_…`
    pub account: String,
    /// customer, influencer, wholesaler, staff
    pub kind: String,
}

/// Checks the identity headers of a request; none where there are none, or they do not hold.
pub(crate) type Recognise = Arc<dyn Fn(&http::request::Parts) -> Option<Visitor> + Send + Sync>;

/// An order that was paid, on its way to the facts API.
#[derive(Clone, Debug)]
pub(crate) struct PaidOrder {
    /// The shop's number of it.
    pub number: u64,
    /// Who bought.
    pub account: String,
    /// What.
    pub product: &'static str,
    /// For how much, cents.
    pub amount_minor: i64,
}

struct Product {
    slug: &'static str,
    name: &'static str,
    words: &'static str,
    amount_minor: i64,
    hue: u16,
}

impl Product {
    fn price(&self) -> String {
        price(self.amount_minor)
    }
}

fn price(amount_minor: i64) -> String {
    format!("€ {}.{:02}", amount_minor / 100, amount_minor % 100)
}

struct Show {
    slug: &'static str,
    title: &'static str,
    host: &'static str,
    viewers: u32,
    product: usize,
}

const PRODUCTS: [Product; 6] = [
    Product {
        slug: "velvet-curtain-coat",
        name: "Velvet Curtain Coat",
        words: "Cut from the red of an opening night; two deep pockets, one secret.",
        amount_minor: 18_900,
        hue: 350,
    },
    Product {
        slug: "spotlight-lamp",
        name: "Spotlight Lamp",
        words: "A desk lamp that makes whoever sits under it the lead.",
        amount_minor: 7_450,
        hue: 42,
    },
    Product {
        slug: "prompter-notebook",
        name: "Prompter's Notebook",
        words: "160 pages for the lines that you will not forget now.",
        amount_minor: 1_650,
        hue: 205,
    },
    Product {
        slug: "encore-sneakers",
        name: "Encore Sneakers",
        words: "For those who run back on stage.",
        amount_minor: 11_900,
        hue: 160,
    },
    Product {
        slug: "greasepaint-palette",
        name: "Greasepaint Palette",
        words: "Twelve colours that survive a third act.",
        amount_minor: 3_800,
        hue: 285,
    },
    Product {
        slug: "interval-teapot",
        name: "Interval Teapot",
        words: "Twenty minutes of calm, in stoneware.",
        amount_minor: 5_200,
        hue: 20,
    },
];

const SHOWS: [Show; 2] = [
    Show {
        slug: "friday-premiere",
        title: "Friday premiere: coats under the lights",
        host: "Mara Voss",
        viewers: 1_284,
        product: 0,
    },
    Show {
        slug: "backstage-hour",
        title: "Backstage hour: lamps, tea and gossip",
        host: "Teo Lindqvist",
        viewers: 412,
        product: 1,
    },
];

/// What is said in the live rooms, over and over.
const CHATTER: [(&str, &str); 8] = [
    ("lena", "is the lining silk?"),
    ("jo_o", "that red!!"),
    ("Mara Voss", "silk, yes, and it is washable"),
    ("pim", "ordered one, my third"),
    ("ade", "does it come in a long cut?"),
    ("Mara Voss", "long cut next Friday"),
    ("sunna", "how warm is it?"),
    ("lena", "ok I am in"),
];

#[derive(Clone)]
struct Shop {
    recognise: Recognise,
    orders: Arc<Mutex<Vec<Order>>>,
    paid: mpsc::Sender<PaidOrder>,
}

#[derive(Clone)]
struct Order {
    number: u64,
    account: String,
    product: &'static str,
    amount: String,
}

#[derive(Template)]
#[template(path = "shop/home.html")]
struct Home {
    visitor: Option<Visitor>,
    products: &'static [Product],
    shows: &'static [Show],
}

#[derive(Template)]
#[template(path = "shop/product.html")]
struct ProductPage {
    visitor: Option<Visitor>,
    product: &'static Product,
}

#[derive(Template)]
#[template(path = "shop/live.html")]
struct LivePage {
    visitor: Option<Visitor>,
    show: &'static Show,
    product: &'static Product,
}

#[derive(Template)]
#[template(path = "shop/checkout.html")]
struct Checkout {
    visitor: Option<Visitor>,
    product: &'static Product,
}

#[derive(Template)]
#[template(path = "shop/orders.html")]
struct Orders {
    visitor: Option<Visitor>,
    orders: Vec<Order>,
}

#[derive(Template)]
#[template(path = "shop/seller.html")]
struct Seller {
    visitor: Option<Visitor>,
    orders: Vec<Order>,
    shows: &'static [Show],
}

/// The shop, and the orders that it tells of.
pub(crate) fn shop(recognise: Recognise) -> (Router, mpsc::Receiver<PaidOrder>) {
    let (paid, orders) = mpsc::channel(256);
    let state = Shop { recognise, orders: Arc::default(), paid };
    let router = Router::new()
        .route("/", get(home))
        .route("/p/{slug}", get(product))
        .route("/live/{slug}", get(live))
        .route("/live/{slug}/events", get(chatter))
        .route("/checkout", get(checkout).post(buy))
        .route("/orders", get(orders_page))
        .route("/seller", get(seller))
        .route("/api/products", get(products))
        .route("/api/me", get(me))
        .route("/static/shop.css", get(css))
        .route("/static/live.js", get(live_js))
        .route("/static/p/{slug}", get(picture))
        .fallback(|| async { (StatusCode::NOT_FOUND, Html("<h1>This way is bricked up</h1>")) })
        .with_state(state);
    (router, orders)
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Shop {
    fn visitor(&self, request: Request) -> Option<Visitor> {
        (self.recognise)(&request.into_parts().0)
    }

    fn orders_of(&self, account: Option<&str>) -> Vec<Order> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = orders.iter().filter(|order| account.is_none_or(|who| order.account == who));
        wanted.rev().take(50).cloned().collect()
    }
}

fn find(slug: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.slug == slug)
}

async fn home(State(shop): State<Shop>, request: Request) -> Response {
    page(&Home { visitor: shop.visitor(request), products: &PRODUCTS, shows: &SHOWS })
}

async fn product(State(shop): State<Shop>, Path(slug): Path<String>, request: Request) -> Response {
    let Some(product) = find(&slug) else { return StatusCode::NOT_FOUND.into_response() };
    page(&ProductPage { visitor: shop.visitor(request), product })
}

async fn live(State(shop): State<Shop>, Path(slug): Path<String>, request: Request) -> Response {
    let show = SHOWS.iter().find(|show| show.slug == slug);
    let Some((show, product)) = show.and_then(|show| Some((show, PRODUCTS.get(show.product)?)))
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    page(&LivePage { visitor: shop.visitor(request), show, product })
}

/// The live room's chat, one line every second and a half.
async fn chatter() -> Sse<impl Stream<Item = Result<Event, std::convert::Infallible>>> {
    let stream = futures_util::stream::unfold(0_usize, |number| async move {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (who, words) = CHATTER.get(number % CHATTER.len()).copied().unwrap_or_default();
        let line = serde_json::json!({ "who": who, "words": words }).to_string();
        Some((Ok(Event::default().event("chat").data(line)), number + 1))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

#[derive(Deserialize)]
struct Wanted {
    product: String,
}

async fn checkout(
    State(shop): State<Shop>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Response {
    let Some(product) = find(&wanted.product) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    page(&Checkout { visitor: shop.visitor(request), product })
}

/// Buys. The door lets nobody here who has not signed in; the shop checks the signature all the
/// same, and that the form came from its own page.
async fn buy(State(shop): State<Shop>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(visitor) = (shop.recognise)(&parts) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let site = parts.headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if !matches!(site, None | Some("same-origin" | "none")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let request = Request::from_parts(parts, body);
    let form = <Form<Wanted> as axum::extract::FromRequest<()>>::from_request(request, &()).await;
    let Ok(Form(wanted)) = form else { return StatusCode::UNPROCESSABLE_ENTITY.into_response() };
    let Some(product) = find(&wanted.product) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let number = {
        let mut orders = shop.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let number = 1_001 + orders.len() as u64;
        orders.push(Order {
            number,
            account: visitor.account.clone(),
            product: product.name,
            amount: product.price(),
        });
        number
    };
    let (account, amount_minor) = (visitor.account, product.amount_minor);
    let paid = PaidOrder { number, account, product: product.slug, amount_minor };
    if shop.paid.try_send(paid).is_err() {
        tracing::warn!(number, "the demo shop could not tell of an order");
    }
    Redirect::to("/orders").into_response()
}

async fn orders_page(State(shop): State<Shop>, request: Request) -> Response {
    let visitor = shop.visitor(request);
    let orders = shop.orders_of(visitor.as_ref().map(|visitor| visitor.account.as_str()));
    page(&Orders { orders: if visitor.is_some() { orders } else { Vec::new() }, visitor })
}

async fn seller(State(shop): State<Shop>, request: Request) -> Response {
    page(&Seller { visitor: shop.visitor(request), orders: shop.orders_of(None), shows: &SHOWS })
}

async fn products() -> Response {
    let list: Vec<_> = PRODUCTS
        .iter()
        .map(|product| {
            serde_json::json!({
                "slug": product.slug, "name": product.name,
                "amount_minor": product.amount_minor, "currency": "EUR",
            })
        })
        .collect();
    Json(list).into_response()
}

async fn me(State(shop): State<Shop>, request: Request) -> Response {
    Json(shop.visitor(request)).into_response()
}

async fn css() -> Response {
    ([(header::CONTENT_TYPE, "text/css")], include_str!("../../assets/shop.css")).into_response()
}

async fn live_js() -> Response {
    let js = include_str!("../../assets/shop-live.js");
    ([(header::CONTENT_TYPE, "text/javascript")], js).into_response()
}

/// A picture of a product, drawn from its hue: curtains, and a disc in the light.
async fn picture(Path(slug): Path<String>) -> Response {
    let product = slug.strip_suffix(".svg").and_then(find);
    let Some(Product { hue, .. }) = product else { return StatusCode::NOT_FOUND.into_response() };
    let folds: String = (0..8)
        .map(|fold| {
            let (x, light) = (fold * 50, 22 + (fold % 2) * 6);
            format!("<path d='M{x} 0h50q-14 150 0 300h-50q14-150 0-300z' fill='hsl({hue} 55% {light}%)'/>")
        })
        .collect();
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 400 300'>\
         <rect width='400' height='300' fill='hsl({hue} 55% 16%)'/>{folds}\
         <path d='M200 -40 60 300h280z' fill='hsl({hue} 90% 88%)' opacity='.16'/>\
         <circle cx='200' cy='165' r='72' fill='hsl({hue} 70% 58%)'/>\
         <circle cx='178' cy='142' r='30' fill='hsl({hue} 90% 82%)' opacity='.55'/>\
         <ellipse cx='200' cy='262' rx='110' ry='14' fill='#000' opacity='.25'/></svg>"
    );
    ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response()
}
