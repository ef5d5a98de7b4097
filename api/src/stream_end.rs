//! Why a stream ended, and over which transport: words for clients, metrics and documents.

common::words! {
    /// How events get to a client.
    pub enum Transport ("transport") {
        /// Server-sent events.
        Sse = "sse",
        /// Lines of JSON.
        Ndjson = "ndjson",
        /// A WebSocket.
        WebSocket = "websocket",
    }
}

common::words! {
    /// Why a stream ended that the client did not end.
    pub enum StreamEnd ("end of a stream") {
        /// The process is about to stop.
        ShuttingDown = "shutting_down",
        /// The log is another one now, or the pod's copy is built anew.
        LogReplaced = "log_replaced",
        /// The client takes less than there is, and falls ever further behind.
        TooSlow = "too_slow",
        /// The stream is a day old. Balancers need a chance to move it.
        TooLong = "too_long",
        /// The client is so far behind that what comes next for it is no longer kept.
        HistoryGone = "history_gone",
        /// The store does not answer, and the client needs what is only there.
        StoreUnavailable = "store_unavailable",
    }
}

impl StreamEnd {
    /// What a WebSocket is closed with, after RFC 6455 and its registry: going away, restart, policy, try again.
    pub fn close_code(self) -> u16 {
        match self {
            Self::ShuttingDown | Self::TooLong => 1001,
            Self::LogReplaced => 1012,
            Self::TooSlow | Self::HistoryGone => 1008,
            Self::StoreUnavailable => 1013,
        }
    }

    /// What has happened.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ShuttingDown => "The process is about to stop.",
            Self::LogReplaced => "The log is another one now, or the pod's copy of it is built anew.",
            Self::TooSlow => {
                "The client takes less than there is: it fell 10,000 records further behind than it had been before."
            }
            Self::TooLong => "The stream is a day old; balancers need a chance to move it.",
            Self::HistoryGone => "The client is so far behind that what comes next for it is no longer kept.",
            Self::StoreUnavailable => {
                "The client needs what is only in the pod's store, and that does not answer."
            }
        }
    }

    /// What it means, and what to do, in a sentence for the client.
    pub fn detail(self) -> &'static str {
        match self {
            Self::ShuttingDown => "this pod is about to stop; go on at another, behind the last event",
            Self::LogReplaced => {
                "the log is another one now: ask again, and if the cursor is unknown, without it"
            }
            Self::TooSlow => "events come faster than you take them; go on behind the last one",
            Self::TooLong => "this stream is a day old; go on behind the last event",
            Self::HistoryGone => "what comes next for you is longer ago than history reaches; begin anew",
            Self::StoreUnavailable => {
                "history is not at hand here for the moment; go on at another pod, or later"
            }
        }
    }
}
