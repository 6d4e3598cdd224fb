"""Who may do what, and how one gets in: roles, logins, single sign-on."""
