//! The transports of streams and the reasons why streams end, as words for clients, metrics and the documentation.

common::words! {
    /// How a client receives events.
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
    /// Why the server ended a stream. [`StreamEnd::meaning`] describes each reason.
    #[expect(missing_docs, reason = "`StreamEnd::meaning` describes each reason, for the documents too")]
    pub enum StreamEnd ("end of a stream") {
        ShuttingDown = "shutting_down",
        LogReplaced = "log_replaced",
        TooSlow = "too_slow",
        TooLong = "too_long",
        HistoryGone = "history_gone",
        StoreUnavailable = "store_unavailable",
    }
}

impl StreamEnd {
    /// The close code of a WebSocket (RFC 6455 and the IANA registry): 1001 is going away, 1008 policy violation, 1012
    /// service restart, and 1013 try again later.
    pub fn close_code(self) -> u16 {
        match self {
            Self::ShuttingDown | Self::TooLong => 1001,
            Self::LogReplaced => 1012,
            Self::TooSlow | Self::HistoryGone => 1008,
            Self::StoreUnavailable => 1013,
        }
    }

    /// What happened, for the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ShuttingDown => "The pod is shutting down.",
            Self::LogReplaced => {
                "The log was replaced by another one, or the pod is rebuilding its copy of the log."
            }
            Self::TooSlow => {
                "The client reads too slowly: its distance to the newest record has grown by more than 10,000 records."
            }
            Self::TooLong => {
                "The stream has lasted one day, which is the maximum. A load balancer can choose another pod when the client \
                 reconnects."
            }
            Self::HistoryGone => "The client is so far behind that its next events are no longer kept.",
            Self::StoreUnavailable => {
                "The client needs events that only the pod's store has, and the store is unavailable."
            }
        }
    }

    /// What happened and what to do, in a sentence for the client.
    pub fn detail(self) -> &'static str {
        match self {
            Self::ShuttingDown => {
                "this pod is shutting down; reconnect to another one with the id of the last event"
            }
            Self::LogReplaced => {
                "the log was replaced, or this pod is rebuilding its copy; reconnect with the id of the last event, or \
                 without a cursor if the response to that is unknown_cursor"
            }
            Self::TooSlow => {
                "you read more slowly than events arrive; reconnect with the id of the last event"
            }
            Self::TooLong => "this stream is one day old; reconnect with the id of the last event",
            Self::HistoryGone => "your next events are no longer kept; reconnect without a cursor",
            Self::StoreUnavailable => {
                "history is temporarily unavailable on this pod; reconnect to another pod, or retry later"
            }
        }
    }
}
