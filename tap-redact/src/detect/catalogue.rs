//! The detectors there are, by name.

use std::fmt;

/// A detector: see `docs/detectors.md` for what each finds and how it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Detector {
    Email,
    Phone,
    PaymentCard,
    Iban,
    IpAddress,
    MacAddress,
    Jwt,
    PrivateKey,
    UrlCredentials,
    HighEntropy,
    Geo,
    DateOfBirth,
    /// Names of people: by the field's name alone.
    PersonName,
    /// Streets, post codes: by the field's name alone.
    PostalAddress,
    /// Passwords, tokens, sessions: by the field's name alone.
    Credential,
    /// Numbers of accounts, documents, customers: by the field's name alone.
    Identifier,
    NationalId(Country),
    ApiKey(Vendor),
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $($variant),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];

            fn full_name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

named!(
    /// Whose numbers of people, and which, where a country has several.
    Country {
        AtSvnr = "national_id.at_svnr",
        AuTfn = "national_id.au_tfn",
        BeRrn = "national_id.be_rrn",
        BrCpf = "national_id.br_cpf",
        CaSin = "national_id.ca_sin",
        ChAhv = "national_id.ch_ahv",
        ClRut = "national_id.cl_rut",
        CnId = "national_id.cn_id",
        CzRc = "national_id.cz_rc",
        DeSteuerId = "national_id.de_steuer_id",
        DkCpr = "national_id.dk_cpr",
        EsDni = "national_id.es_dni",
        FiHetu = "national_id.fi_hetu",
        FrNir = "national_id.fr_nir",
        GbNhs = "national_id.gb_nhs",
        GbNino = "national_id.gb_nino",
        IePps = "national_id.ie_pps",
        InAadhaar = "national_id.in_aadhaar",
        ItCf = "national_id.it_cf",
        JpMyNumber = "national_id.jp_my_number",
        KrRrn = "national_id.kr_rrn",
        MxCurp = "national_id.mx_curp",
        NlBsn = "national_id.nl_bsn",
        NoFnr = "national_id.no_fnr",
        PlPesel = "national_id.pl_pesel",
        PtNif = "national_id.pt_nif",
        RoCnp = "national_id.ro_cnp",
        SePnr = "national_id.se_pnr",
        SgNric = "national_id.sg_nric",
        TrTckn = "national_id.tr_tckn",
        UsItin = "national_id.us_itin",
        UsSsn = "national_id.us_ssn",
        ZaId = "national_id.za_id",
    }
);

named!(
    /// Whose keys.
    Vendor {
        Anthropic = "api_key.anthropic",
        Aws = "api_key.aws",
        Azure = "api_key.azure",
        DigitalOcean = "api_key.digitalocean",
        Docker = "api_key.docker",
        Gcp = "api_key.gcp",
        GitHub = "api_key.github",
        GitLab = "api_key.gitlab",
        Grafana = "api_key.grafana",
        HashiCorp = "api_key.hashicorp",
        HuggingFace = "api_key.huggingface",
        Mailgun = "api_key.mailgun",
        Npm = "api_key.npm",
        OpenAi = "api_key.openai",
        PyPi = "api_key.pypi",
        SendGrid = "api_key.sendgrid",
        Shopify = "api_key.shopify",
        Slack = "api_key.slack",
        Square = "api_key.square",
        Stripe = "api_key.stripe",
        Telegram = "api_key.telegram",
        Twilio = "api_key.twilio",
    }
);

/// Those without a family.
const SINGLE: &[Detector] = &[
    Detector::Email,
    Detector::Phone,
    Detector::PaymentCard,
    Detector::Iban,
    Detector::IpAddress,
    Detector::MacAddress,
    Detector::Jwt,
    Detector::PrivateKey,
    Detector::UrlCredentials,
    Detector::HighEntropy,
    Detector::Geo,
    Detector::DateOfBirth,
    Detector::PersonName,
    Detector::PostalAddress,
    Detector::Credential,
    Detector::Identifier,
];

impl Detector {
    /// Every detector, in a stable order.
    pub fn all() -> impl Iterator<Item = Self> {
        let single = SINGLE.iter().copied();
        let countries = Country::ALL.iter().map(|country| Self::NationalId(*country));
        let vendors = Vendor::ALL.iter().map(|vendor| Self::ApiKey(*vendor));
        single.chain(countries).chain(vendors)
    }

    /// The stable name: "email", "national_id.us_ssn", "api_key.aws".
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::PaymentCard => "payment_card",
            Self::Iban => "iban",
            Self::IpAddress => "ip_address",
            Self::MacAddress => "mac_address",
            Self::Jwt => "jwt",
            Self::PrivateKey => "private_key",
            Self::UrlCredentials => "url_credentials",
            Self::HighEntropy => "high_entropy",
            Self::Geo => "geo",
            Self::DateOfBirth => "date_of_birth",
            Self::PersonName => "person_name",
            Self::PostalAddress => "postal_address",
            Self::Credential => "credential",
            Self::Identifier => "identifier",
            Self::NationalId(country) => country.full_name(),
            Self::ApiKey(vendor) => vendor.full_name(),
        }
    }

    /// The detector of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|detector| detector.name() == name)
    }

    fn bit(self) -> u128 {
        let countries = SINGLE.len();
        let vendors = countries + Country::ALL.len();
        1 << match self {
            Self::NationalId(country) => countries + country as usize,
            Self::ApiKey(vendor) => vendors + vendor as usize,
            single => SINGLE.iter().position(|known| *known == single).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of detectors.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct DetectorSet(u128);

impl DetectorSet {
    pub fn all() -> Self {
        Detector::all().collect()
    }

    pub fn contains(self, detector: Detector) -> bool {
        self.0 & detector.bit() != 0
    }

    pub fn insert(&mut self, detector: Detector) {
        self.0 |= detector.bit();
    }

    pub fn remove(&mut self, detector: Detector) {
        self.0 &= !detector.bit();
    }

    /// Those of a name or of a family: "email", "api_key", "national_id.us_ssn"; none where there is no such name.
    pub fn named(name: &str) -> Self {
        let is_named = |detector: &Detector| {
            let full = detector.name();
            full == name || full.split_once('.').is_some_and(|(family, _)| family == name)
        };
        Detector::all().filter(is_named).collect()
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Detector> {
        Detector::all().filter(move |detector| self.contains(*detector))
    }
}

impl FromIterator<Detector> for DetectorSet {
    fn from_iter<I: IntoIterator<Item = Detector>>(detectors: I) -> Self {
        let mut set = Self::default();
        detectors.into_iter().for_each(|detector| set.insert(detector));
        set
    }
}

impl fmt::Debug for DetectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Detector::name)).finish()
    }
}
