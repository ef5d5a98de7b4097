//! What one process runs.

/// What one process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The poller and the API.
    Run,
    /// The poller and the API, with a simulated market.
    Demo,
    /// The poller only.
    Poller,
    /// The API only.
    Api,
}

impl Mode {
    pub(crate) fn has_poller(self) -> bool {
        self != Self::Api
    }

    pub(crate) fn has_api(self) -> bool {
        self != Self::Poller
    }

    /// The name of the process in traces, unless the environment sets another one.
    pub(crate) fn service_name(self) -> &'static str {
        match self {
            Self::Run | Self::Demo => "tickwell",
            Self::Poller => "tickwell-poller",
            Self::Api => "tickwell-api",
        }
    }

    /// The mode, as it is written in logs and messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Run => "poller and API in one process",
            Self::Demo => "demo: every price is SIMULATED",
            Self::Poller => "poller",
            Self::Api => "API",
        }
    }
}
