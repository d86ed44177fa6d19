//! Whether a request would rather read a page or a document (RFC 9110 section 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

const MAX_RANGES: usize = 16;

/// Whether the request names HTML and wants it more than JSON. `*/*` alone is a program.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let (mut html, mut json) = (0u16, 0u16);
    for range in accept.split(',').take(MAX_RANGES) {
        let mut parts = range.split(';');
        let media = parts.next().unwrap_or_default().trim();
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(1000, |text| weight_of(text.trim()));
        if media.eq_ignore_ascii_case("text/html") {
            html = html.max(weight);
        } else if media.eq_ignore_ascii_case("application/json")
            || media.eq_ignore_ascii_case("application/problem+json")
        {
            json = json.max(weight);
        }
    }
    html > json
}

/// A weight in thousandths; what cannot be read is zero.
fn weight_of(text: &str) -> u16 {
    let Some((whole, rest)) = text.split_once('.') else {
        return if text == "1" { 1000 } else { 0 };
    };
    if whole == "1" {
        return 1000;
    }
    let digits: String = rest.chars().chain("000".chars()).take(3).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // W1
    #[test]
    fn browsers_get_pages_and_programs_get_documents() {
        let cases = [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json", false),
            ("*/*", false),
            ("text/html;q=0.5, application/json", false),
            ("application/json;q=0.5, TEXT/HTML", true),
            ("text/html, application/json", false),
            ("text/html;q=0", false),
            ("text/html;q=zebra", false),
            ("", false),
        ];
        for (accept, page) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(prefers_html(&headers), page, "{accept}");
        }
    }
}
