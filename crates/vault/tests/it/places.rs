//! V2: a sealed value opens in its place and nowhere else.

use kernel::{SystemEntropy, TenantId};
use vault::{Error, Place, SealError, Sealer, Subject, Vault};

use crate::world::{PLACE, World, account, both, open, seal};

async fn two_subjects(world: &World) -> (Vault, Vec<u8>) {
    let vault = world.init().await;
    vault.create(account(1)).await.unwrap();
    vault.create(account(2)).await.unwrap();
    let sealed = seal(&vault, account(1), b"ada@example.org");
    (vault, sealed)
}

// V2
#[test]
fn a_value_moved_anywhere_is_forged() {
    both(async |world| {
        let (vault, sealed) = two_subjects(world).await;
        assert_eq!(open(&vault, account(1), &sealed).await.unwrap(), b"ada@example.org");
        for place in [
            Place { row: [8; 16], ..PLACE },
            Place { column: "phone_sealed", ..PLACE },
            Place { table: "identity_device", ..PLACE },
            Place { table: "identity_accoun", column: "temail_sealed", ..PLACE },
        ] {
            let moved = vault.open_sealed(account(1), place, &sealed);
            assert!(matches!(moved, Err(Error::Forged)), "{place:?}");
        }
        let other_person = vault.open_sealed(account(2), PLACE, &sealed);
        assert!(matches!(other_person, Err(Error::Forged)));
        let house = vault.open_sealed(Subject::House, PLACE, &sealed);
        assert!(matches!(house, Err(Error::Forged)));
        vault.close().await;
    });
}

// V2
#[test]
fn another_tenant_of_the_same_installation_opens_nothing() {
    both(async |world| {
        let (vault, sealed) = two_subjects(world).await;
        // The same key under another tenant's name, as one who can write the database would try.
        vault.close().await;
        let other = TenantId::from_bytes([9; 16]);
        world
            .sql(
                "INSERT INTO key_epoch (tenant, epoch, wrapped, created_at) \
                 SELECT $1, epoch, wrapped, created_at FROM key_epoch",
                vec![other.as_bytes().into()],
            )
            .await;
        let mut config = world.config();
        config.tenant = other;
        let opened = Vault::open(config).await;
        assert!(matches!(opened, Err(Error::Forged)), "{opened:?}");
        assert_eq!(open(&world.open().await, account(1), &sealed).await.unwrap().len(), 15);
    });
}

// V2
#[test]
fn a_flipped_bit_a_cut_and_another_version_are_forged() {
    both(async |world| {
        let (vault, sealed) = two_subjects(world).await;
        let house = vault.seal(Subject::House, PLACE, b"smtp", &SystemEntropy).unwrap();
        for (subject, sealed) in [(account(1), sealed), (Subject::House, house)] {
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let opened = vault.open_sealed(subject, PLACE, &flipped);
                assert!(matches!(opened, Err(Error::Forged)), "{subject:?} bit {bit}");
            }
            for length in 0..sealed.len() {
                let opened = vault.open_sealed(subject, PLACE, &sealed[..length]);
                assert!(matches!(opened, Err(Error::Forged)), "{subject:?} cut to {length}");
            }
            let longer = [sealed.as_slice(), b"\0"].concat();
            assert!(matches!(vault.open_sealed(subject, PLACE, &longer), Err(Error::Forged)));
        }
        vault.close().await;
    });
}

#[test]
fn rows_are_sealed_and_opened_whole() {
    both(async |world| {
        let (vault, _) = two_subjects(world).await;
        let columns: [(&str, &[u8]); 2] = [("email", b"ada@example.org"), ("name", b"Ada")];
        let row = ("identity_account", [3; 16]);
        let sealed = vault.seal_row(account(1), row, &columns, &SystemEntropy).unwrap();
        let [email, name] = &sealed[..] else { panic!("two values") };
        let opened = vault.open_row(account(1), row, &[("email", email), ("name", name)]).unwrap();
        assert_eq!(opened[1].expose(), b"Ada");
        assert!(vault.open_row(account(1), row, &[("email", name)]).is_err());
        vault.close().await;
    });
}

#[test]
fn the_spine_sees_its_own_errors() {
    both(async |world| {
        let (vault, sealed) = two_subjects(world).await;
        let sealer: &dyn Sealer = &vault;
        sealer.resolve(&[account(1), account(1), account(5), Subject::House]).await.unwrap();
        let unknown = sealer.seal(account(5), PLACE, b"x", &SystemEntropy);
        assert_eq!(unknown, Err(SealError::Unresolved));
        // looked for, and not there; not looked for
        assert_eq!(sealer.open(account(5), PLACE, &sealed), Err(SealError::Missing));
        assert_eq!(sealer.open(account(6), PLACE, &sealed), Err(SealError::Unresolved));
        assert_eq!(sealer.open(account(1), PLACE, &sealed).unwrap(), b"ada@example.org");
        assert_eq!(sealer.open(account(1), PLACE, b"short"), Err(SealError::Forged));
        vault.shred(account(1)).await.unwrap();
        sealer.resolve(&[account(1)]).await.unwrap();
        assert_eq!(sealer.open(account(1), PLACE, &sealed), Err(SealError::Erased));
        vault.close().await;
    });
}

#[test]
fn digests_are_keyed_and_kept_apart() {
    both(async |world| {
        let vault = world.init().await;
        let blind = vault.blind("identity.email", b"ada@example.org");
        assert_ne!(blind, vault.blind("identity.phone", b"ada@example.org"));
        assert_ne!(blind, vault.mac("identity.email", b"ada@example.org"));
        assert_ne!(blind[..16], vault.pseudonym(b"ada@example.org"));
        let (mac, pseudonym) = (vault.mac("cursor", b"page 2"), vault.pseudonym(&[1; 16]));
        vault.close().await;
        let again = world.open().await;
        assert_eq!(again.blind("identity.email", b"ada@example.org"), blind);
        assert_eq!(again.pseudonym(&[1; 16]), pseudonym);
        assert!(again.mac_matches("cursor", b"page 2", &mac));
        assert!(!again.mac_matches("cursor", b"page 3", &mac));
        assert!(!again.mac_matches("other", b"page 2", &mac));
        assert!(!again.mac_matches("cursor", b"page 2", &mac[..31]));
        again.close().await;
    });
}
