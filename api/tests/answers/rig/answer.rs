//! Responses of a pod.

use poem::test::TestResponse;
use serde_json::Value;

use super::Rig;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
    pub(super) response: TestResponse,
}

impl Answer {
    /// Every value of a header that may be repeated.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.response.0.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// All headers, in any order.
    pub(crate) fn all_headers(&self) -> Vec<(String, String)> {
        let headers = self.response.0.headers().iter();
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.0.headers().get(name).map(|value| value.to_str().unwrap())
    }
}

/// The items of all pages, which are found by following the links. Between two pages, `between` may change the pod.
pub(crate) async fn pages(rig: &mut Rig, first: &str, mut between: impl AsyncFnMut(&mut Rig)) -> Vec<Value> {
    let (mut path, mut found) = (first.to_owned(), Vec::new());
    loop {
        let answer = rig.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        found.extend_from_slice(answer.body["items"].as_array().unwrap());
        let Some(link) = answer.header("link") else {
            assert_eq!(answer.body["next_cursor"], Value::Null);
            return found;
        };
        assert!(link.contains(answer.body["next_cursor"].as_str().unwrap()), "{link}");
        path = followed(&path, link);
        between(rig).await;
    }
}

/// The path that a `Link` header leads to from `path`. The link is relative to the last part of the path.
pub(crate) fn followed(path: &str, link: &str) -> String {
    let folder = path.split('?').next().unwrap().rsplit_once('/').unwrap().0;
    format!("{folder}/{}", link.split(['<', '>']).nth(1).unwrap())
}
