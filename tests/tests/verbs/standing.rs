//! Who takes new clients as the health of backends changes.

use std::collections::HashSet;

use balancer_tests::lab::{Network, eventually};

use crate::{HEALTH, PORT, farm, of_backend, servers, share, start, succeed, web};

#[test]
fn a_backup_serves_while_no_other_backend_can() {
    let (network, mut running) = farm(2);
    let balancer = start(&network, &web(1).health(HEALTH).to_string());
    let address = format!("{}:{PORT}", Network::backend(1));
    succeed(&balancer, &format!("backend add web {address} --name b1 --backup"));
    eventually("the backup is up", || {
        (of_backend(&balancer, "b1", "health") == "up").then_some(())
    });
    assert_eq!(servers(&network, 20), HashSet::from(["b0".to_owned()]));
    running.kill(0);
    eventually("the backup serves", || {
        (of_backend(&balancer, "b1", "share") == 1.0).then_some(())
    });
    assert_eq!(servers(&network, 20), HashSet::from(["b1".to_owned()]));
    running.start(&network, 0);
    eventually("the backup does not serve", || {
        (of_backend(&balancer, "b1", "share") == 0.0).then_some(())
    });
    assert_eq!(servers(&network, 20), HashSet::from(["b0".to_owned()]));
}

#[test]
fn a_backend_that_comes_up_gets_its_share_of_new_clients_step_by_step() {
    let (network, mut servers) = farm(2);
    let services = web(2)
        .health(HEALTH)
        .to_string()
        .replace("ports = [80]", "ports = [80]\nslow_start = \"2s\"");
    let balancer = start(&network, &services);
    eventually("both are up", || {
        (of_backend(&balancer, "b1", "health") == "up").then_some(())
    });
    assert!(share(&balancer, "b1") > 0.49, "who serves at the start does so in full");
    servers.kill(1);
    eventually("one is down", || (share(&balancer, "b1") == 0.0).then_some(()));
    servers.start(&network, 1);
    let mut shares = vec![0.0];
    eventually("it has its full share", || {
        let share = share(&balancer, "b1");
        if shares.last() != Some(&share) {
            shares.push(share);
        }
        (share > 0.49).then_some(())
    });
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares.len() > 5, "{shares:?}");
    assert!(shares[1] < 0.25, "{shares:?}");
}

#[test]
fn with_too_few_backends_up_health_is_ignored() {
    let (network, mut servers) = farm(3);
    let services = web(3).health(HEALTH).to_string();
    let services = services.replace("ports = [80]", "ports = [80]\npanic_threshold = 0.5");
    let balancer = start(&network, &services);
    eventually("all are up", || {
        (of_backend(&balancer, "b2", "health") == "up").then_some(())
    });
    servers.kill(0);
    eventually("one gets no clients", || (share(&balancer, "b0") == 0.0).then_some(()));
    servers.kill(1);
    eventually("two are down", || {
        (of_backend(&balancer, "b1", "health") == "down").then_some(())
    });
    for name in ["b0", "b1", "b2"] {
        assert!((0.3..0.4).contains(&share(&balancer, name)), "{name}");
    }
}
