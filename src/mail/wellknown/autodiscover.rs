//! Autodiscover: the settings that Outlook asks for by POST, in the plain XML form for IMAP, POP3 and SMTP (MS-OXDSCLI).

use super::xml::{escaped, unescaped};
use crate::Address;
use crate::records::{Discovery, Endpoint};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The address as it was given.
    pub given: String,
    /// The same in its canonical form.
    pub address: Address,
}

/// Why a request gets no settings. Both are answered with HTTP 200, as the protocol has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no request, or names no address.
    Invalid,
    /// The client wants answers of another schema, such as those for ActiveSync.
    OtherSchema,
}

/// Namespace of the answers for Outlook.
const OUTLOOK: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";

/// Reads the body of a request. It is searched for two elements and never parsed as XML: there are no entities, no
/// document types and no depth that somebody could make much of.
pub fn read_request(body: &str) -> Result<Request, Refusal> {
    let schema = element(body, "AcceptableResponseSchema");
    if schema.is_some_and(|schema| schema.trim() != OUTLOOK) {
        return Err(Refusal::OtherSchema);
    }
    let given = element(body, "EMailAddress").and_then(unescaped).ok_or(Refusal::Invalid)?;
    let given = given.trim().to_owned();
    let address = Address::new(&given).map_err(|_| Refusal::Invalid)?;
    Ok(Request { given, address })
}

/// The text between the tags of the first element of this name, which has no attributes.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Autodiscover \
                    xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n";

/// The settings for an address.
pub fn autodiscover(request: &Request, offered: &Discovery) -> String {
    let protocols = [("IMAP", &offered.imap), ("POP3", &offered.pop3), ("SMTP", &offered.submission)];
    let protocols: String =
        protocols.into_iter().filter_map(|(kind, e)| Some(protocol(kind, e.as_ref()?, &request.address))).collect();
    format!(
        "{HEAD}  <Response xmlns=\"{OUTLOOK}\">\n    <User>\n      <DisplayName>{}</DisplayName>\n    </User>\n    <Account>\n      \
         <AccountType>email</AccountType>\n      <Action>settings</Action>\n{protocols}    </Account>\n  </Response>\n\
         </Autodiscover>\n",
        escaped(&request.given)
    )
}

fn protocol(kind: &str, at: &Endpoint, login: &Address) -> String {
    // The word for TLS from the first byte is SSL, that for STARTTLS is TLS.
    let encryption = if at.tls { "SSL" } else { "TLS" };
    format!(
        "      <Protocol>\n        <Type>{kind}</Type>\n        <Server>{}</Server>\n        <Port>{}</Port>\n        \
         <DomainRequired>off</DomainRequired>\n        <LoginName>{}</LoginName>\n        <SPA>off</SPA>\n        \
         <SSL>on</SSL>\n        <Encryption>{encryption}</Encryption>\n        <AuthRequired>on</AuthRequired>\n      \
         </Protocol>\n",
        escaped(&at.host),
        at.port,
        escaped(login)
    )
}

/// The answer to a request that gets no settings.
pub fn refused(why: Refusal) -> String {
    let (code, text) = match why {
        Refusal::Invalid => (600, "Invalid Request"),
        Refusal::OtherSchema => (601, "Provider is not available"),
    };
    format!(
        "{HEAD}  <Response>\n    <Error Time=\"00:00:00.0000000\" Id=\"0\">\n      <ErrorCode>{code}</ErrorCode>\n      \
         <Message>{text}</Message>\n      <DebugData />\n    </Error>\n  </Response>\n</Autodiscover>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::offered;
    use super::*;

    fn body(address: &str, schema: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/\
             requestschema/2006\"><Request><EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{schema}\
             </AcceptableResponseSchema></Request></Autodiscover>"
        )
    }

    #[test]
    fn what_clients_ask_for() {
        let asked = read_request(&body("Alice@ACME.test", OUTLOOK)).unwrap();
        assert_eq!((asked.given.as_str(), asked.address.as_str()), ("Alice@ACME.test", "alice@acme.test"));
        let and = read_request(&body("a&amp;b@acme.test", OUTLOOK)).unwrap();
        assert_eq!(and.address.as_str(), "a&b@acme.test");
        let sync = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006";
        for (text, why) in [
            (body("a@acme.test", sync), Refusal::OtherSchema),
            (body("acme.test", OUTLOOK), Refusal::Invalid),
            (body("a@acme.test<x/>", OUTLOOK), Refusal::Invalid),
            (body("&x;@acme.test", OUTLOOK), Refusal::Invalid),
            (body("", OUTLOOK), Refusal::Invalid),
            (String::new(), Refusal::Invalid),
            ("<EMailAddress>a@acme.test".into(), Refusal::Invalid),
        ] {
            assert_eq!(read_request(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_they_get() {
        let asked = read_request(&body("a&amp;b'@acme.test", OUTLOOK)).unwrap();
        let text = autodiscover(&asked, &offered());
        assert!(text.contains("<LoginName>a&amp;b&#39;@acme.test</LoginName>"), "{text}");
        let smtp = text.split("<Type>SMTP</Type>").nth(1).unwrap();
        assert!(smtp.contains("<Server>smtp.mail.example.net</Server>") && smtp.contains("<Port>587</Port>"));
        assert!(smtp.contains("<Encryption>TLS</Encryption>"), "STARTTLS");
        let imap = text.split("<Type>IMAP</Type>").nth(1).unwrap();
        assert!(imap.contains("<Encryption>SSL</Encryption>"));
        assert!(!autodiscover(&asked, &Discovery { pop3: None, ..offered() }).contains("POP3"));
        assert!(refused(Refusal::Invalid).contains("<ErrorCode>600</ErrorCode>"));
        assert!(refused(Refusal::OtherSchema).contains("<ErrorCode>601</ErrorCode>"));
    }
}
