//! Who may log in, to which virtual host, and how often.

use crosstalk_broker::{Limits, Options, Permissions, User};
use lapin::{Connection, ConnectionProperties};

use super::harness::{Server, soon};
use super::refusals::told;

/// `ada` may use `/` and `lab`, `bob` only `lab`, `eve` nothing.
async fn server() -> Server {
    let some = |vhost: &str| (vhost.to_owned(), Permissions::new("^lab\\.", ".*", ".*").unwrap());
    let users = vec![
        User::new("ada", "s3cret"),
        User::new("bob", "s3cret").allowed([some("lab")]),
        User::new("eve", "s3cret").allowed([]),
    ];
    let limits = Limits { connections_per_user: 2, ..Limits::default() };
    Server::start_with(Options { users, limits, vhosts: vec!["/".into(), "lab".into()], ..Options::default() }).await
}

async fn connect(server: &Server, user: &str, vhost: &str) -> Result<Connection, (u16, String)> {
    let uri = format!("amqp://{user}:s3cret@{}/{vhost}", server.address);
    let connected = soon("connect", Connection::connect(&uri, ConnectionProperties::default())).await;
    connected.map_err(|error| told(&error))
}

#[tokio::test]
async fn a_user_gets_into_the_virtual_hosts_with_permissions_only() {
    let server = server().await;
    for (user, vhost) in [("ada", "%2f"), ("ada", "lab"), ("bob", "lab")] {
        let connection = connect(&server, user, vhost).await.unwrap();
        assert!(connection.status().connected());
    }
    for (user, vhost, shown) in [("bob", "%2f", "/"), ("eve", "%2f", "/"), ("eve", "lab", "lab")] {
        let text = format!("NOT_ALLOWED - access to vhost '{shown}' refused for user '{user}'");
        assert_eq!(connect(&server, user, vhost).await.unwrap_err(), (530, text));
    }
    assert_eq!(connect(&server, "guest", "%2f").await.unwrap_err().0, 403);
}

#[tokio::test]
async fn a_user_has_so_many_connections_and_gets_a_place_back() {
    let server = server().await;
    let first = connect(&server, "ada", "%2f").await.unwrap();
    let _second = connect(&server, "ada", "lab").await.unwrap();
    let text = "NOT_ALLOWED - connection refused for user 'ada': user connection limit (2) is reached".to_owned();
    assert_eq!(connect(&server, "ada", "%2f").await.unwrap_err(), (530, text));
    connect(&server, "bob", "lab").await.unwrap();
    soon("close", first.close(200, "".into())).await.unwrap();
    soon("a place", async {
        while connect(&server, "ada", "%2f").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
