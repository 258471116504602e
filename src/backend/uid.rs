//! Who owns something at a server.

mailtenant_mail::text_type! {
    /// `metadata.uid` of a Kubernetes object, which the server notes with all that the object owns there (I3).
    Uid
}

impl Uid {
    /// As Kubernetes gave it, or as a server has noted it.
    pub fn new(text: impl Into<String>) -> Self {
        Uid(text.into())
    }
}
