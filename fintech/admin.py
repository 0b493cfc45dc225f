"""The users of the admin, with its theme."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from fintech.adminsite.changelists import GuardedAdmin

admin.site.unregister([User, Group])


@admin.register(User)
class UserAdmin(DjangoUserAdmin, GuardedAdmin):  # type: ignore[type-arg,misc]  # it takes none at run time; any arguments
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    readonly_fields = ["last_login", "date_joined"]  # facts: a form that is open would take a login back
    filter_parameters = frozenset(
        ["is_staff__exact", "is_superuser__exact", "is_active__exact", "groups__id__exact", "groups__isnull"]
    )


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, GuardedAdmin):  # type: ignore[misc]  # any arguments
    pass
