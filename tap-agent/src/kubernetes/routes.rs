//! The collectors to which policies may send, each by the way that leads there.

use crate::registry::RouteId;

/// Which collector is reached on which route. Fixed at start: a policy can only name what the agent's settings allow.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In the spelling of [`tap_policy::normal_url`]. The first is the agent's own.
    collectors: Vec<String>,
}

impl Routes {
    /// The agent's own collector, and others.
    pub fn new(own: &str, others: &[String]) -> Self {
        let own = tap_policy::normal_url(own).unwrap_or_else(|_| own.to_owned());
        let others = others.iter().filter(|url| **url != own).cloned();
        Self { collectors: [own.clone()].into_iter().chain(others).collect() }
    }

    /// Every collector, in the order of the routes.
    pub fn collectors(&self) -> &[String] {
        &self.collectors
    }

    /// The route to a collector; `None` where it is not allowed.
    pub fn to(&self, collector: Option<&str>) -> Option<RouteId> {
        match collector {
            None => Some(RouteId(0)),
            Some(url) => self.collectors.iter().position(|allowed| allowed == url).map(RouteId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_has_a_route() {
        let others = ["http://other:7070".to_owned(), "http://own:80".to_owned()];
        let routes = Routes::new("http://own", &others);
        assert_eq!(routes.to(None), Some(RouteId(0)));
        assert_eq!(routes.to(Some("http://own:80")), Some(RouteId(0)));
        assert_eq!(routes.to(Some("http://other:7070")), Some(RouteId(1)));
        assert_eq!(routes.to(Some("http://evil:7070")), None);
        assert_eq!(routes.collectors().len(), 2);
    }
}
